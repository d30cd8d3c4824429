# shellcheck shell=bash
# What the scripts share. Sourced, never run.
#
# Sets: root (the source tree), cache (what outlives a clean checkout).

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${RNBD_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/rnbd-nbd}
# Both are used by the scripts that source this file.
export root cache

# A headline: what happens now, and how long the script has been running.
step() { printf '\n==> [%3d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }
say() { printf '    %s\n' "$*"; }
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

have() { command -v "$1" > /dev/null 2>&1; }

# How many compilers at once: one per core, but each may need 1.5 GiB.
compile_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '$1 == "MemAvailable:" { print int($2 / 1572864) }' /proc/meminfo)
  ((memory >= 1)) || memory=1
  echo $((cores < memory ? cores : memory))
}

# The name is unique on this machine: two runs at once must not meet.
unique_name() { printf '%s-%s-%s' "$1" "$$" "$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')"; }
