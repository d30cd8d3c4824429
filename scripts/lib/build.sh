# shellcheck shell=bash
# Building with meson, ninja and ccache. Sourced after common.sh.
# shellcheck source=scripts/lib/common.sh
: "${root:?common.sh comes first}"

# The compiler cache, outside the tree: a clean checkout finds it again.
use_ccache() {
  export CCACHE_DIR=${CCACHE_DIR:-$cache/ccache} CCACHE_BASEDIR=$root
  export CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-4G}
  mkdir -p "$CCACHE_DIR"
}

# build_tree DIR [MESON OPTION...] [-- NINJA TARGET...]
# Configures DIR if that has not been done, then builds. Two runs at once take
# turns: the lock is on the directory itself.
build_tree() {
  local dir=$1 lock options=() status=0
  shift
  while (($# > 0)) && [[ $1 != -- ]]; do
    options+=("$1")
    shift
  done
  (($# == 0)) || shift

  use_ccache
  mkdir -p "$dir"
  exec {lock}< "$dir"
  flock -n "$lock" || {
    say "another run is building in $dir: waiting for it"
    flock "$lock"
  }
  configure_tree "$dir" "${options[@]}" && ninja -C "$dir" -j "$(compile_jobs)" "$@" || status=$?
  exec {lock}<&-
  return $status
}

# Options are applied again only when they differ from the last time: each
# `meson configure` costs a whole reconfiguration.
configure_tree() {
  local dir=$1 stamp=$1/.script-options
  shift
  if [[ -e $dir/build.ninja ]]; then
    (($# == 0)) || [[ $(cat "$stamp" 2> /dev/null) == "$*" ]] ||
      meson configure "$dir" "$@" || return 1
    (($# == 0)) || echo "$*" > "$stamp"
    return 0
  fi
  say "meson setup ${dir#"$root"/} $*"
  # A configuration that was interrupted leaves a directory meson must wipe.
  local wipe=()
  if [[ -d $dir/meson-private ]]; then wipe=(--wipe); fi
  local log
  log=$(mktemp)
  if ! meson setup "${wipe[@]}" "$dir" "$root" "$@" > "$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
  echo "$*" > "$stamp"
}
