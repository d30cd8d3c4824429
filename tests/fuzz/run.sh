#!/bin/bash
# Runs each fuzzer of a build for a bounded count from its seed corpus in
# tests/data/corpus.
#
#   tests/fuzz/run.sh BUILD_DIR [RUNS]    RUNS per target, 20000 by default, a
#                                         fourth of it where a run is long
#
# One line per target. Exits 1 if one crashed, hung or was not built; what
# crashed it is kept in BUILD_DIR/crashes.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:?BUILD_DIR, configured with -Dfuzzers=true and built, is missing}
runs=${2:-20000}

log=$(mktemp)
trap 'rm -rf "$log" "${found:-}"' EXIT

export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
mkdir -p "$build/crashes"
failed=0
ran=0
for target in "$build"/tests/fuzz/*_fuzzer; do
  [ -x "$target" ] || continue
  name=$(basename "$target" _fuzzer)
  seeds=$root/tests/data/corpus/$name
  found=$(mktemp -d)
  count=$runs
  # Each run sets up a connection.
  if [ "$name" = roce_queue_pair ]; then count=$((runs / 4)); fi
  # max_total_time is a guard against a hang, not what ends a run. The entropic
  # schedule takes six sevenths of the time of what has much state.
  if timeout 120 "$target" -runs="$count" -max_total_time=100 -seed=1 \
    -timeout=10 -entropic=0 -print_final_stats=1 \
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
