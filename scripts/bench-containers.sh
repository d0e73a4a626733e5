# shellcheck shell=bash
# Part of scripts/bench (sourced by it): containers beside Debian's Docker in swarm mode, on the same machine in the same run. Owns: the image, the other daemon and its end.
# Needs root. Docker's programs are unpacked into the cache folder, nothing is installed; its daemon has a data root, an exec root and a socket of its own.

docker_folder='' docker_pid='' docker_gateway='' docker_programs=$cache/dockerd-debian

# make_image FILE [MB]: the article's image as `docker save` writes it, with so much in it that nothing compresses.
make_image() {
  local work applet id
  work=$(mktemp -d)
  mkdir -p "$work/tree/bin" "$work/tree/etc" "$work/out"
  cp /bin/busybox "$work/tree/bin/"
  for applet in sh tail sleep true; do ln -s busybox "$work/tree/bin/$applet"; done
  echo root:x:0:0:root:/root:/bin/sh >"$work/tree/etc/passwd"
  [ -z "${2:-}" ] || head -c "${2}M" /dev/urandom >"$work/tree/large"
  tar -C "$work/tree" -cf "$work/out/layer.tar" .
  id=$(sha256sum "$work/out/layer.tar" | cut -d ' ' -f 1)
  printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["tail"],"Cmd":["-f","/dev/null"],"Env":["PATH=/bin"],"StopSignal":"SIGKILL"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(dpkg --print-architecture)" "$id" >"$work/out/config.json"
  printf '[{"Config":"config.json","RepoTags":["eon01/infinite:latest"],"Layers":["layer.tar"]}]' >"$work/out/manifest.json"
  tar -C "$work/out" -cf "$1" config.json manifest.json layer.tar
  rm -rf "$work"
}

start_docker() {
  if ! [ -x "$docker_programs/usr/sbin/dockerd" ]; then
    unpack_deb bookworm docker.io "$docker_programs.part" && mv "$docker_programs.part" "$docker_programs"
  fi
  have iptables || install_packages iptables
  docker_folder=$(mktemp -d "${TMPDIR:-/tmp}/dXXXXX")
  # A swarm of Docker's makes this one, and leaves it.
  docker_gateway=$(ip -o link show docker_gwbridge 2>/dev/null || true)
  # It makes no bridge but its usual one, which may be somebody else's.
  ip link add docker-wsw type bridge && ip addr add 172.31.77.1/24 dev docker-wsw && ip link set docker-wsw up
  PATH=$docker_programs/usr/sbin:$docker_programs/usr/bin:$PATH "$docker_programs/usr/sbin/dockerd" -H "unix://$docker_folder/s" --data-root "$docker_folder/d" --exec-root "$docker_folder/e" \
    --pidfile "$docker_folder/pid" --bridge docker-wsw >"$docker_folder/log" 2>&1 &
  docker_pid=$!
  other() { DOCKER_HOST=unix://$docker_folder/s "$docker_programs/usr/bin/docker" "$@"; }
  until other version >/dev/null 2>&1; do
    kill -0 "$docker_pid" 2>/dev/null || { tail -n 3 "$docker_folder/log" >&2; return 1; }
    sleep 0.1
  done
  other swarm init --advertise-addr 127.0.0.1 --listen-addr 127.0.0.1:23799 >/dev/null
}
stop_docker() {
  [ -n "$docker_pid" ] || return 0
  other swarm leave --force >/dev/null 2>&1 || true
  kill "$docker_pid" 2>/dev/null || true
  wait "$docker_pid" 2>/dev/null || true
  awk -v f="$docker_folder/" 'index($2, f) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l 2>/dev/null || true
  ip link delete docker-wsw 2>/dev/null || true
  [ -n "$docker_gateway" ] || ip link delete docker_gwbridge 2>/dev/null || true
  rm -rf --one-file-system "$docker_folder"
  docker_pid=
}

# Seconds since this moment.
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.3f\n", (b - a) / 1e9 }'; }
# all_run CLIENT N: until N tasks are said to run; one that does not get there ends the measurement. Each question is a client's start: many of them take a processor.
all_run() {
  local deadline=$((SECONDS + 120)) pause=0.02
  [ "$2" = 1 ] || pause=0.1
  until [ "$("$1" service ps t --filter desired-state=running --format '{{.CurrentState}}' | grep -c '^Running')" = "$2" ]; do
    [ $SECONDS -lt $deadline ] || die "$1: not all of $2 tasks run after two minutes"
    sleep "$pause"
  done
}
# Containers' processes, beside those that were there before.
others=0
tails() { pgrep -xc -f 'tail -f /dev/null' || true; }
processes() { echo $(($(tails) - others)); }
ours() { "$wsw" "$@"; }
ours_memory() { memory; }
# dockerd, its containerd and their shims.
other_memory() { pss "$docker_pid" $(pgrep -f "$docker_folder/" | grep -vx "$docker_pid"); }

# contained CLIENT: how long create, 1 → 50, 50 → 1 and 32 at once take with this client, a line each.
contained() {
  local client=$1 begin
  begin=$(now)
  "$client" service create -d --no-resolve-image --name t --stop-grace-period 0s eon01/infinite >/dev/null
  all_run "$client" 1
  echo "create $(since "$begin")"
  begin=$(now)
  "$client" service scale -d t=50 >/dev/null
  all_run "$client" 50
  echo "up $(since "$begin")"
  # Beyond the containers' own processes: the daemon's growth and the shims, shared pages once.
  echo "memory $(awk -v all="$("$client"_memory)" -v before="$memory_before" 'BEGIN { printf "%.0f\n", (all - before) / 50 }')"
  begin=$(now)
  "$client" service scale -d t=1 >/dev/null
  until [ "$(processes)" = 1 ] && { [ "$client" != ours ] || [ "$(find "$exec_root/oci/b" -mindepth 1 -maxdepth 1 | wc -l)" = 1 ]; }; do sleep 0.02; done
  echo "down $(since "$begin")"
  "$client" service rm t >/dev/null
  until [ "$(processes)" = 0 ]; do sleep 0.05; done
  begin=$(now)
  "$client" service create -d --no-resolve-image --name t --replicas 32 --stop-grace-period 0s eon01/infinite >/dev/null
  all_run "$client" 32
  echo "burst $(since "$begin")"
  "$client" service rm t >/dev/null
  until [ "$(processes)" = 0 ]; do sleep 0.05; done
}

# `exec true` in a running container, as its user waits for it: $1 is the client, $2 the container.
exec_times() {
  local begin
  "$1" exec "$2" true
  for _ in $(seq "$runs"); do
    begin=$(now)
    "$1" exec "$2" true
    echo $(($(now) - begin))
  done | median | awk '{ printf "%.0f ms", $1 / 1e6 }'
}

measure_exec() {
  [ "$(id -u)" = 0 ] || { say "containers need root"; return 0; }
  local image mine theirs="no Docker beside it"
  image=$(mktemp "${TMPDIR:-/tmp}/wXXXXX")
  make_image "$image"
  start_node
  "$wsw" load -i "$image" >/dev/null
  "$wsw" service create --name t eon01/infinite >/dev/null
  mine=$(exec_times ours "$("$wsw" ps -q)")
  stop_node
  if [ -z "${NO_DOCKER:-}" ] && start_docker; then
    other load -i "$image" >/dev/null
    theirs="Docker 20.10: $(exec_times other "$(other run -d eon01/infinite)")"
    other ps -q | while read -r id; do other rm -f "$id" >/dev/null; done
  fi
  stop_docker
  rm -f "$image"
  row "\`exec true\` in a running container" "100 ms" "$mine ($theirs)"
}

measure_containers() {
  [ "$(id -u)" = 0 ] || { say "containers need root"; return 0; }
  local image mine theirs memory_before
  others=$(tails)
  image=$(mktemp "${TMPDIR:-/tmp}/wXXXXX")
  make_image "$image"
  start_node
  "$wsw" load -i "$image" >/dev/null
  "$wsw" service create --name warm eon01/infinite >/dev/null # unpacked, and the network is there
  "$wsw" service rm warm >/dev/null
  until [ "$(processes)" = 0 ]; do sleep 0.05; done
  memory_before=$(memory)
  mine=$(for _ in 1 2 3; do contained ours; done)
  stop_node
  theirs=''
  if [ -z "${NO_DOCKER:-}" ] && start_docker; then
    other load -i "$image" >/dev/null
    memory_before=$(other_memory)
    theirs=$(for _ in 1 2 3; do contained other; done)
  fi
  stop_docker
  rm -f "$image"
  figure() { awk -v w="$1" '$1 == w { print $2 }' <<<"$2" | median; }
  beside() { if [ -n "$theirs" ]; then echo "Docker 20.10: $(figure "$1" "$theirs") s"; else echo "no Docker beside it"; fi; }
  row "service create → 1/1 container running" "0.2 s" "$(figure create "$mine") s ($(beside create))"
  row "scale 1 → 50 containers with network, all running" "2.0 s, 0.15 of Docker's" "$(figure up "$mine") s ($(beside up))"
  row "32 containers at once, the slowest running" "1.2 s" "$(figure burst "$mine") s ($(beside burst))"
  row "scale 50 → 1 containers, all gone and cleaned up" "1.5 s" "$(figure down "$mine") s ($(beside down), processes gone)"
  row "memory of a container beyond its own processes" "1 MB" "$(figure memory "$mine") KiB (daemon's growth and shims, of 50; ${theirs:+Docker 20.10: $(figure memory "$theirs") KiB})"
}
