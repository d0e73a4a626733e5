#!/usr/bin/env bash
# The figures of several nodes: part of `scripts/bench`, which sources it. Each node has a network namespace of its own behind one switch (needs root), so
# that one can be cut off. Owns: those nodes and namespaces. Never: what one node does.
# shellcheck shell=bash disable=SC2154

switch=wswb-$$ base='' execs='' members=0
declare -A pids=()

# network NODES: namespaces, links, folders.
network() {
  local n
  [ "$(id -u)" = 0 ] || die "measuring several nodes needs root (network namespaces)"
  base=$(mktemp -d "${TMPDIR:-/tmp}/wXXXXX") execs=$(mktemp -d "$memory_folder/wXXXXX") members=$1
  chmod 755 "$base" "$execs"
  ip netns add "$switch" && ip -n "$switch" link add br0 type bridge && ip -n "$switch" link set br0 up
  for n in $(seq "$1"); do
    ip netns add "$switch-$n"
    ip -n "$switch" link add "h$n" type veth peer name eth0 netns "$switch-$n"
    ip -n "$switch" link set "h$n" master br0 up
    ip -n "$switch-$n" link set lo up && ip -n "$switch-$n" addr add "10.78.0.$n/24" dev eth0 && ip -n "$switch-$n" link set eth0 up
    mkdir -p "$base/$n"
  done
}
# inside NODE COMMAND…: in that node's network.
inside() { nsenter --net="/run/netns/$switch-$1" -- "${@:2}"; }
at() { WSW_HOST=unix://$base/$1/s "$wsw" "${@:2}"; }
cut_off() { ip -n "$switch" link set "h$1" down; }
heal() { ip -n "$switch" link set "h$1" up; }
member() {
  nsenter --net="/run/netns/$switch-$1" -- "$wsw" daemon -H "unix://$base/$1/s" --data-root "$base/$1/d" --exec-root "$execs/$1" --pidfile "$base/$1/pid" --listen-addr "10.78.0.$1:23770" >>"$base/$1/log" 2>&1 &
  pids[$1]=$!
  until curl -sf --unix-socket "$base/$1/s" http://localhost/_ping >/dev/null; do sleep 0.01; done
}
# swarm MANAGERS WORKERS: node 1 begins it.
swarm() {
  local n role
  network $(($1 + $2))
  for n in $(seq "$members"); do
    member "$n"
    [ "$n" -gt "$1" ] && role=worker || role=manager
    if [ "$n" = 1 ]; then at 1 swarm init >/dev/null; else at "$n" swarm join --token "$(at 1 swarm join-token -q $role)" 10.78.0.1:23770 >/dev/null; fi
  done
  until settled 1 "$1" "$members"; do sleep 0.05; done
}
# settled AT MANAGERS NODES: as that one sees it, all are there.
settled() {
  local seen
  seen=$(at "$1" node ls --format '{{.Status}} {{.ManagerStatus}}' 2>/dev/null) || return 1
  [ "$(grep -c '^Ready' <<<"$seen")" = "$3" ] && [ "$(grep -cE 'Leader|Reachable' <<<"$seen")" = "$2" ]
}
end_swarm() {
  local n pid
  [ "$members" != 0 ] || return 0
  for n in $(seq "$members"); do
    pid=${pids[$n]:-}
    [ -z "$pid" ] || { kill -9 "$pid" 2>/dev/null && wait "$pid"; } 2>/dev/null || true
    ip netns del "$switch-$n" 2>/dev/null || true
  done
  ip netns del "$switch" 2>/dev/null || true
  { grep -lsF "$execs/" /proc/[0-9]*/cmdline || true; } | cut -d / -f 3 | grep -vx -e "$$" -e "$BASHPID" | xargs -r kill -9 2>/dev/null || true
  rm -rf --one-file-system "$base" "$execs" 2>/dev/null || { sleep 1 && rm -rf --one-file-system "$base" "$execs"; } || true
  members=0 pids=()
}
node_id() { curl -sf --unix-socket "$base/$1/s" http://localhost/info | grep -o '"NodeID":"[a-z0-9]*"' | sed -n 1p | cut -d '"' -f 4; }
# The number of the one that leads, as node $1 says.
leader() {
  local id n
  id=$(at "$1" node ls --format '{{.ID}} {{.ManagerStatus}}' 2>/dev/null | awk '$2 == "Leader" { print $1 }')
  for n in $(seq "$members"); do [ "$(node_id "$n")" != "$id" ] || echo "$n"; done
}
spread() { printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 / 1e9 } END { printf "median %.2f s, worst %.2f s of %d", v[int((NR + 1) / 2)], v[NR], NR }'; }

measure_failover() {
  local times=() round old other begin first
  swarm 3 0
  first=$(node_id 1)
  other=1
  for round in $(seq "${ROUNDS:-20}"); do
    old=$(leader "$other")
    other=$((old % 3 + 1))
    begin=$(now)
    cut_off "$old"
    until at "$other" node update --label-add "round=$round" "$first" >/dev/null 2>&1; do sleep 0.005; done
    times+=($(($(now) - begin)))
    heal "$old"
    until settled "$other" 3 3; do sleep 0.05; done
  done
  row "the leader is cut off → another manager has accepted a write" "0.8 s, worst 1.5 s" "$(spread "${times[@]}") (the client's start and end included)"
  end_swarm
}

measure_lost() {
  local times=() round id other begin
  swarm 1 2
  at 1 node update --availability drain "$(node_id 1)" >/dev/null
  at 1 service create --name t --replicas 8 --restart-delay 0s "$guests/tick.wasm" >/dev/null
  for round in $(seq "${ROUNDS:-5}"); do
    id=$(node_id 2) other=$(node_id 3)
    # All eight are on node 2, the other waits for them.
    at 1 node update --availability drain "$other" >/dev/null
    until [ "$(at 1 node ps "$id" --filter desired-state=running --format '{{.CurrentState}}' | grep -c '^Running')" = 8 ]; do sleep 0.05; done
    at 1 node update --availability active "$other" >/dev/null
    begin=$(now)
    cut_off 2
    until [ "$(at 1 node ps "$other" --filter desired-state=running --format '{{.CurrentState}}' | grep -c '^Running')" = 8 ]; do sleep 0.01; done
    times+=($(($(now) - begin)))
    heal 2
    until settled 1 1 3; do sleep 0.05; done
  done
  row "a worker is cut off → its 8 tasks run elsewhere, default settings" "4 s" "$(spread "${times[@]}")"
  end_swarm
}

measure_leave() {
  local times=() round begin other
  swarm 1 2
  at 1 node update --availability drain "$(node_id 1)" >/dev/null
  at 1 service create --name t --replicas 8 --restart-delay 0s "$guests/tick.wasm" >/dev/null
  for round in $(seq "${ROUNDS:-5}"); do
    other=$(node_id 3)
    at 1 node update --availability drain "$other" >/dev/null
    until [ "$(at 1 node ps "$(node_id 2)" --filter desired-state=running --format '{{.CurrentState}}' | grep -c '^Running')" = 8 ]; do sleep 0.05; done
    at 1 node update --availability active "$other" >/dev/null
    begin=$(now)
    at 2 swarm leave >/dev/null &
    until [ "$(at 1 node ps "$other" --filter desired-state=running --format '{{.CurrentState}}' | grep -c '^Running')" = 8 ]; do sleep 0.01; done
    times+=($(($(now) - begin)))
    wait $!
    # Its port may be held for a moment longer.
    until at 2 swarm join --token "$(at 1 swarm join-token -q worker)" 10.78.0.1:23770 >/dev/null 2>&1; do sleep 0.05; done
    until [ "$(at 1 node ls --format '{{.Status}}' | grep -c Ready)" = 3 ]; do sleep 0.05; done
  done
  row "a worker leaves → its 8 tasks run elsewhere" "1 s" "$(spread "${times[@]}")"
  end_swarm
}

measure_back() {
  local round before after
  swarm 1 1
  at 1 node update --availability drain "$(node_id 1)" >/dev/null
  at 1 service create --name t --replicas 8 "$guests/tick.wasm" >/dev/null
  # Their records, and the processes that run them.
  processes() { { at 1 service ps t --no-trunc --format '{{.ID}} {{.DesiredState}}'; pgrep -f "wasm-shim.*$execs/2"; } | sort; }
  before=$(processes)
  for round in $(seq "${ROUNDS:-5}"); do
    kill -9 "${pids[2]}" && { wait "${pids[2]}" || true; } 2>/dev/null
    sleep 1.5
    member 2
    sleep 4
  done
  after=$(processes)
  row "a worker's daemon dies (\`kill -9\`) and is started again after 1.5 s, ${ROUNDS:-5} times: of 8 tasks replaced or restarted" "0" \
    "$(comm -3 <(echo "$before") <(echo "$after") | wc -l)"
  end_swarm
}

measure_join() {
  local times=() round begin token
  swarm 1 1
  token=$(at 1 swarm join-token -q worker)
  for round in $(seq "${ROUNDS:-9}"); do
    at 2 swarm leave >/dev/null
    until [ "$(at 1 node ls --format '{{.Status}}' | grep -c Ready)" = 1 ]; do sleep 0.05; done
    until begin=$(now) && at 2 swarm join --token "$token" 10.78.0.1:23770 >/dev/null 2>&1; do sleep 0.05; done
    until [ "$(at 1 node ls --format '{{.Status}}' | grep -c Ready)" = 2 ]; do sleep 0.005; done
    times+=($(($(now) - begin)))
  done
  row "a worker joins → it is ready" "0.5 s" "$(spread "${times[@]}") (two clients' starts included)"
  end_swarm
}

# asked NODE METHOD PATH COUNT [BODY]: seconds of each of so many requests, one after the other on one connection.
asked() {
  curl -s --unix-socket "$base/$1/s" -X "$2" -H 'Content-Type: application/json' ${5:+-d "$5"} -o /dev/null -w '%{http_code} %{time_total}\n' "http://localhost$3&n=[1-$4]" |
    awk '$1 >= 400 { bad++ } { print $2 } END { if (bad) print bad " refused" > "/dev/stderr" }'
}
percentile() { sort -n | awk -v p="$1" '{ v[NR] = $1 } END { i = int(NR * p); print v[i < 1 ? 1 : i] * 1000 }'; }

measure_writes() {
  local at_leader at_follower lead follow sync count=300
  swarm 3 0
  lead=$(leader 1) follow=$((lead % 3 + 1))
  # Networks, each with a name of its own: curl does one after the other on one connection.
  small() {
    local n
    for n in $(seq $count); do printf '{"Name":"%s%s","Driver":"overlay"}\n' "$2" "$n"; done >"$base/bodies"
    while read -r body; do
      printf 'next\nurl = "http://localhost/networks/create"\nunix-socket = "%s"\ndata = "%s"\nheader = "Content-Type: application/json"\noutput = "/dev/null"\nwrite-out = "%%{http_code} %%{time_total}\\n"\n' \
        "$base/$1/s" "${body//\"/\\\"}"
    done <"$base/bodies" | sed 1d >"$base/requests"
    curl -s -K "$base/requests" | awk '$1 >= 400 { bad++ } { print $2 } END { if (bad) print bad " refused" > "/dev/stderr" }' | percentile 0.5
  }
  sync=$(dd if=/dev/zero of="$base/sync" bs=512 count=300 oflag=dsync 2>&1 | awk '/copied/ { for (i = 1; i <= NF; i++) if ($i == "s,") print $(i - 1) * 1000 / 300 }')
  at_leader=$(small "$lead" a)
  at_follower=$(small "$follow" b)
  row "3 managers: a small write, through the leader" "2 ms + 2 fsync" "median $at_leader ms of $count; an fsync of 512 bytes takes $(printf %.2f "$sync") ms"
  row "3 managers: a small write, through a follower" "1 ms more" "median $at_follower ms"
  end_swarm
}

measure_relayed() {
  local lead follow other quiet busy rate count=2000 id
  swarm 3 0
  lead=$(leader 1) follow=$((lead % 3 + 1)) other=$(((lead + 1) % 3 + 1))
  id=$(node_id "$lead")
  at 1 node update --label-add here=yes "$(node_id "$other")" >/dev/null
  at 1 service create --name h --constraint node.labels.here==yes -p 18080:80 "$guests/lab_http.wasm" >/dev/null
  until inside "$follow" curl -sf "http://10.78.0.$follow:18080/bytes/1024" >/dev/null; do sleep 0.05; done
  quiet=$(asked "$follow" GET "/nodes/$id?x=1" $count | percentile 0.99)
  inside "$follow" wrk -t 1 -c 128 -d "$((seconds * 2))s" "http://10.78.0.$follow:18080/bytes/1024" >"$base/wrk" &
  sleep 1
  busy=$(asked "$follow" GET "/nodes/$id?x=1" $count | percentile 0.99)
  wait $!
  rate=$(awk '/Requests\/sec/ { print int($2) }' "$base/wrk")
  row "p99 of a question on the connection of heartbeats and votes, from a node that relays $rate requests/s" "100 ms" "$busy ms ($quiet ms when nothing is relayed; the API's part included)"
  row "elections meanwhile" "0" "$(cat "$base"/*/log | grep -c 'no longer the leader' || true)"
  end_swarm
}

# Bytes that a node has sent, by its end of the switch.
sent() { ip -n "$switch" -s -j link show "h$1" | grep -o '"rx":{"bytes":[0-9]*' | grep -o '[0-9]*$'; }

# An image that was loaded on one of nine nodes, with no registry, until a task of it runs on each.
measure_blobs() {
  local image before begin took n all=''
  swarm 1 8
  image=$(mktemp "${TMPDIR:-/tmp}/wXXXXX")
  make_image "$image" 200
  at 1 load -q -i "$image" >/dev/null
  rm -f "$image"
  before=$(sent 1)
  begin=$(now)
  at 1 service create -d --name all --mode global --stop-grace-period 0s eon01/infinite >/dev/null
  until [ "$(at 1 service ps all --format '{{.CurrentState}}' | grep -c '^Running')" = 9 ]; do sleep 0.2; done
  took=$(($(now) - begin))
  for n in $(seq 2 9); do all="$all $(sent "$n")"; done
  row "an image of 200 MB that one node has, to 8 others, all running" "the first gives less than 8 × 200 MB" \
    "$(awk -v t=$took -v g=$(($(sent 1) - before)) -v o="$all" 'BEGIN { k = split(o, v, " "); for (i = 1; i <= k; i++) s += v[i]; printf "%.1f s; the first gave %.0f MB, the others %.0f MB", t / 1e9, g / 1e6, s / 1e6 }')"
  at 1 service rm all >/dev/null
  for n in $(seq 9); do until [ -z "$(ls "$execs/$n/oci/b" 2>/dev/null)" ]; do sleep 0.1; done; done
  end_swarm
}
