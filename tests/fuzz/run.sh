#!/bin/bash
# Builds the fuzzers with clang, address and undefined sanitizers, and runs
# each for a bounded count from its seed corpus in tests/data/corpus.
#
#   tests/fuzz/run.sh [RUNS]    RUNS per target, 20000 by default
#
# One line per target. Exits 1 if one crashed, hung or was not built; what
# crashed it is kept in build-fuzz/crashes.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build-fuzz
runs=${1:-20000}

# Thread sanitizer flags and the like of a caller must not leak in.
unset CFLAGS CXXFLAGS LDFLAGS
log=$(mktemp)
trap 'rm -rf "$log" "${found:-}"' EXIT
if [ ! -f "$build/build.ninja" ]; then
  rm -rf "$build"
  CC=clang-14 CXX=clang++-14 meson setup "$build" "$root" -Dfuzzers=true \
    -Dbuildtype=debugoptimized -Dwerror=false -Db_lundef=false \
    -Db_sanitize=address,undefined >"$log" 2>&1 || {
    cat "$log"
    echo "fuzz: meson setup failed" >&2
    exit 1
  }
fi
echo "fuzz: building with $(clang++-14 --version | head -n 1)"
ninja -C "$build" -j"$(nproc)" fuzzers >"$log" 2>&1 || {
  tail -n 60 "$log"
  echo "fuzz: the build failed" >&2
  exit 1
}

export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
mkdir -p "$build/crashes"
failed=0
ran=0
for target in "$build"/tests/fuzz/*_fuzzer; do
  [ -x "$target" ] || continue
  name=$(basename "$target" _fuzzer)
  seeds=$root/tests/data/corpus/$name
  found=$(mktemp -d)
  # max_total_time is a guard against a hang, not what ends a run.
  if timeout 120 "$target" -runs="$runs" -max_total_time=30 -seed=1 \
    -timeout=10 -print_final_stats=1 \
    -artifact_prefix="$build/crashes/$name-" "$found" "$seeds" >"$log" 2>&1; then
    count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "fuzz: $name: ok, $count runs, $(find "$seeds" -type f | wc -l) seeds"
  else
    echo "fuzz: $name: FAILED"
    tail -n 40 "$log"
    failed=1
  fi
  rm -rf "$found"
  ran=$((ran + 1))
done
if [ "$ran" -eq 0 ]; then
  echo "fuzz: no target was built" >&2
  exit 1
fi
exit "$failed"
