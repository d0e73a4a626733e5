# Shared by the scripts in this folder: source it, do not run it. Owns: messages, the cache folder, apt. Never: anything about wsw itself.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything that is fetched or built once per machine. `mkdir` here and not later: a read-only home falls back to the checkout.
cache=${WSW_CACHE:-${XDG_CACHE_HOME:-${HOME:-$root/target}/.cache}/wsw}
mkdir -p "$cache" 2>/dev/null || { cache=$root/target/cache && mkdir -p "$cache"; }

say() { printf '== %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Cargo's programs are often not on a CI machine's path.
case ":$PATH:" in *":${CARGO_HOME:-$HOME/.cargo}/bin:"*) ;; *) PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH ;; esac
export PATH

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else have sudo || die "needs root (or sudo) for: $*"; sudo -n "$@"; fi; }

# install_packages PACKAGE…: from the machine's own sources, those that are missing only. `apt-get update` runs at most once, and only then.
install_packages() {
  local missing=() p
  for p in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] && return
  say "installing ${missing[*]}"
  [ -n "${apt_updated:-}" ] || { as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >&2; apt_updated=1; }
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
}

# The addresses of the machine's Debian mirrors (whatever they are here), one a line.
debian_mirrors() { apt-get update --print-uris 2>/dev/null | sed -n "s|^'\(.*\)/dists/[a-z]*/InRelease'.*|\1|p" | sort -u; }

# other_apt SUITE COMMAND…: an apt program with its own configuration and lists for one other suite of the machine's mirror, so that nothing of it
# is ever installed on the machine by mistake. Lists are fetched when there are none or they are older than a day.
other_apt() {
  local suite=$1 dir mirror program=$2
  shift 2
  dir=$cache/apt-$suite
  mkdir -p "$dir/lists/partial" "$dir/archives/partial"
  local options=(-o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir"
    -o "Dir::Cache::Archives=$dir/archives" -o Dir::State::Status=/dev/null -o Acquire::Languages=none)
  [ "$(id -u)" != 0 ] || options+=(-o APT::Sandbox::User=root)
  if [ -z "$(find "$dir/lists" -maxdepth 1 -name '*Packages*' -mtime -1 2>/dev/null)" ]; then
    while read -r mirror; do
      echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$dir/sources.list"
      if apt-get "${options[@]}" update -q >"$dir/log" 2>&1 && find "$dir/lists" -maxdepth 1 -name '*Packages*' | grep -q .; then mirror=found && break; fi
    done < <(debian_mirrors)
    [ "$mirror" = found ] || { cat "$dir/log" >&2; return 1; }
  fi
  "$program" "${options[@]}" "$@"
}

# unpack_deb SUITE PACKAGE[=VERSION] FOLDER: fetches a package and unpacks it there; installs nothing.
unpack_deb() {
  local suite=$1 package=$2 folder=$3 work
  work=$(mktemp -d)
  # shellcheck disable=SC2164
  (cd "$work" && other_apt "$suite" apt-get download -q "$package" >&2 && dpkg -x ./*.deb "$folder")
  local result=$?
  rm -rf "$work"
  return $result
}

# Cargo's settings for a whole build: one target folder per machine (all checkouts share the 400 dependencies), no incremental files there.
cargo_environment() {
  local shared=${HOME:-}/.cache/wsw-target
  if [ -z "${CARGO_TARGET_DIR:-}" ]; then
    if [ -n "${HOME:-}" ] && mkdir -p "$shared" 2>/dev/null && [ -w "$shared" ]; then
      # It only grows (a whole build of one feature set is some 6 GB): start over above 14 GB.
      if [ "$(du -s --block-size=1G "$shared" | cut -f 1)" -gt 14 ]; then
        say "$shared is over 14 GB: starting over"
        rm -rf "${shared:?}"/*
      fi
      CARGO_TARGET_DIR=$shared
    else
      CARGO_TARGET_DIR=$root/target
    fi
  fi
  export CARGO_TARGET_DIR CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
}
