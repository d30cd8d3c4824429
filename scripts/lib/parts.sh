# shellcheck shell=bash
# The parts of scripts/test. Sourced after common.sh and build.sh.
#
# Each part_NAME prints what it does and ends with "N passed, N failed, N skipped".
# A part that cannot even get there returns non-zero, which counts as a failure.
: "${root:?common.sh comes first}"

# shellcheck disable=SC2034  # scripts/test runs them in this order
all_parts=(format unit e2e guest vm fuzz asan asan_e2e tsan tsan_e2e)

describe_part() {
  case $1 in
    format) echo 'layout of the source (clang-format, shellcheck)' ;;
    unit) echo 'unit tests and simulation' ;;
    e2e) echo 'end-to-end tests with nbdkit, libnbd, qemu and fio' ;;
    guest) echo 'a virtual machine with its root file system on our NBD drive' ;;
    vm) echo "both ends with the kernel's own modules, over soft RoCE in a guest" ;;
    fuzz) echo 'fuzzers of every decoder, a bounded number of inputs each' ;;
    asan) echo 'unit tests under the address and undefined sanitizers' ;;
    asan_e2e) echo 'end-to-end tests under the address and undefined sanitizers' ;;
    tsan) echo 'unit tests under the thread sanitizer' ;;
    tsan_e2e) echo 'end-to-end tests under the thread sanitizer' ;;
    *) return 1 ;;
  esac
}

# Prints the sum of the summary lines on standard input.
add_summaries() {
  awk '/^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { p += $1; f += $3; s += $5; n++ }
    END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit n == 0 }'
}

sources() {
  if [[ -e $root/.git ]]; then
    git -C "$root" -c safe.directory="$root" ls-files -co --exclude-standard "$@"
  else
    (cd "$root" && find . -path './build*' -prune -o -type f -print | sed 's|^\./||' |
      grep -E "$(printf '%s\n' "$@" | sed 's/\./\\./g; s/\*/.*/g; s/$/$/' | paste -sd'|')")
  fi
}

part_format() {
  local file passed=0 failed=0
  while read -r file; do
    if clang-format-14 --dry-run -Werror "$root/$file"; then
      passed=$((passed + 1))
    else
      failed=$((failed + 1))
    fi
  done < <(sources '*.cc' '*.h')
  while read -r file; do
    # In the root, so that "shellcheck source=" finds what it names.
    if (cd "$root" && shellcheck -x "$file"); then
      passed=$((passed + 1))
    else
      failed=$((failed + 1))
    fi
  done < <(sources | while read -r file; do
    if head -n 1 "$root/$file" 2> /dev/null | grep -aqE '^#!/bin/(ba)?sh|^# shellcheck shell='; then
      echo "$file"
    fi
  done)
  echo "$passed passed, $failed failed, 0 skipped"
}

# unit_tests BUILD_DIR TIMEOUT_MULTIPLIER [MESON TEST OPTION...]
unit_tests() {
  local dir=$1 multiplier=$2 status=0
  shift 2
  rm -f "$dir/meson-logs/testlog.json"
  meson test -C "$dir" --no-rebuild --print-errorlogs -t "$multiplier" \
    --num-processes "$(nproc)" "$@" < /dev/null || status=$?
  # The exit code is the number of failures; the summary has them too.
  [[ -s $dir/meson-logs/testlog.json ]] || return "$((status > 0 ? status : 1))"
  python3 "$root/scripts/lib/meson_summary.py" "$dir"
}

# They wait more than they compute: twice as many at once as there are cores.
e2e_tests() {
  local dir=$1
  shift
  "$root/tests/e2e/run.py" "$dir" -j "$(($(nproc) * 2))" "$@"
}

part_unit() { unit_tests "${build:?}" 2; }
part_e2e() { e2e_tests "${build:?}"; }
part_guest() { "$root/tests/vm-guest/run.sh" "${build:?}"; }

# count_lines PREFIX COMMAND...: for programs that say "PREFIX ...: ok ..." or
# "PREFIX ...: FAILED ..." for each case.
count_lines() {
  local prefix=$1 log status=0
  shift
  log=$(mktemp)
  "$@" 2>&1 | tee "$log" || status=$?
  awk -v prefix="^$prefix [^:]+: " -v status=$status '
    $0 ~ prefix "ok" { ok++ }
    $0 ~ prefix "FAILED" { bad++ }
    END { if (status != 0 && bad == 0 || ok + bad == 0) bad++
          printf "%d passed, %d failed, 0 skipped\n", ok, bad }' "$log"
  rm -f "$log"
}

part_fuzz() { build_asan && count_lines 'fuzz:' "$root/tests/fuzz/run.sh" "$asan_build"; }

part_vm() { vm_tests 1; }

# What soak repeats of it: who talks to whom over soft RoCE, without the faults.
# shellcheck disable=SC2034  # scripts/test takes it
vm_pairings=(plugin_to_ kernel_to_server nbd_tcp persist reload two_guests)

# vm_tests ROUNDS [CASE...]
vm_tests() {
  if [[ $(dpkg --print-architecture) != amd64 ]]; then
    echo 'skipped: vm: guests are for amd64 only'
    echo '0 passed, 0 failed, 1 skipped'
    return
  fi
  local rounds=$1
  shift
  count_lines 'vm [0-9]+/[0-9]+' "$root/tests/vm/run" --build "${build:?}" --rounds "$rounds" "$@"
}

# Where a part's sanitized tree is, and how it is built: nothing is optimized, and
# clang takes two thirds of g++'s time for it, lld a fifth of ld's. Four files at a
# time halve it once more; names in unnamed namespaces of one directory have to differ
# therefore. One tree serves the fuzzers too. clang 16 is the first whose thread
# sanitizer has a shared library to put into nbdkit.
asan_build=$root/build-asan
build_asan() { build_sanitized "$asan_build" address,undefined -Dfuzzers=true; }
tsan_build=$root/build-tsan
build_tsan() { build_sanitized "$tsan_build" thread; }

# Seeds of the simulations there: they take twenty times as long.
sanitized_seeds=10

# build_sanitized BUILD_DIR SANITIZERS [MESON OPTION...]
build_sanitized() {
  CC='ccache clang-16' CXX='ccache clang++-16' CXX_LD=lld \
    build_tree "$1" -Dtests=true -Db_sanitize="$2" -Db_lundef=false -Doptimization=0 \
    -Dunity=on -Dunity_size=4 -Dcpp_args=-g1 "${@:3}"
}

part_asan() {
  build_asan || return 1
  ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
    RNBD_SEEDS=$sanitized_seeds unit_tests "$asan_build" 10
}
part_asan_e2e() { build_asan && e2e_tests "$asan_build" --timeout 600; }
part_tsan() {
  build_tsan || return 1
  TSAN_OPTIONS=suppressions=$root/tests/e2e/lib/suppressions/tsan.supp \
    RNBD_SEEDS=$sanitized_seeds unit_tests "$tsan_build" 10
}
part_tsan_e2e() { build_tsan && e2e_tests "$tsan_build" --timeout 600; }
