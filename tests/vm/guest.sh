#!/bin/bash
# Runs in the guest: guest.sh DIRECTORY BUILD ROUNDS CASE...
#
# Each case is a script of its own with tests/vm/lib.sh around it; afterwards
# what it left running is killed, and what the kernel logged meanwhile is held
# against what the kernel alone logs in 01_kernel_to_kernel. What else is expected
# stands as a pattern in kernel-messages.txt (in every case: a guest that is short of
# time, the first module that is loaded, rxe on a dummy interface, an orderly detach
# of /dev/nbd), or in the case ("# kernel: PATTERN").
set -euo pipefail
here=$1
build=$2
rounds=$3
shift 3
# shellcheck source=scripts/lib/vm-guest.sh
. /lab/lib.sh
# shellcheck source=tests/vm/network.sh
. "$here/network.sh"

failed=()
number=0
total=$(($# * rounds))
expected=/tmp/expected-messages

# mark NUMBER: from here on the kernel's messages are those of case NUMBER.
mark() { echo "vm: case $1 begins" > /dev/kmsg; }

# messages NUMBER: the kernel's of level warning and above since the mark, with
# what differs from run to run taken out.
messages() {
  dmesg --decode | awk -v mark="vm: case $1 begins" '
    index($0, mark) { found = 1; next }
    found && /^[a-z]+ *:(emerg|alert|crit|err|warn) *:/' |
    sed -E -e 's/^[a-z]+ *:[a-z]+ *: \[ *[0-9.]+\] //' -e 's/0x[0-9a-f]+/N/g' \
      -e 's/[0-9]+/N/g' | sort -u
}

# not_announced CASE: the messages that no pattern expects; false if there are none.
not_announced() {
  sed -n 's/^# kernel: //p' "$here/cases/$1.sh" | cat "$here/kernel-messages.txt" - \
    > /tmp/announced
  grep . | grep -v -E -f /tmp/announced
}

# Whatever a case that failed left behind must not fail the next one.
clean_up() {
  local device
  umount /mnt/vm 2> /dev/null || true
  for device in /dev/nbd?; do nbd-client -d "$device" > /dev/null 2>&1 || true; done
  for device in /sys/block/rnbd*/rnbd; do
    [[ ! -e $device ]] || echo force > "$device/unmap_device" || true
  done
  for module in rnbd_client rtrs_client rnbd_server rtrs_server nbd; do
    rmmod "$module" 2> /dev/null || true
  done
  nft delete table inet cut 2> /dev/null || true
  [[ ! -e /sys/class/net/v0 ]] || wire_down || true
}

run_case() {
  local name=$1 start=$SECONDS rc=0 limit pid
  limit=$(sed -n 's/^# limit: //p' "$here/cases/$name.sh")
  printf 'vm %d/%d %s\n' "$((++number))" "$total" "$name"
  mark "$number"
  # shellcheck disable=SC2016
  setsid timeout -k 10 "${limit:-900}" bash -c '
    set -euo pipefail
    here=$1 build=$2
    . /lab/lib.sh
    . "$1/network.sh"
    . "$1/lib.sh"
    . "$1/cases/$3.sh"' case "$here" "$build" "$name" > "/lab/$name.log" 2>&1 &
  pid=$!
  wait "$pid" || rc=$?
  kill -KILL -- "-$pid" 2> /dev/null || true
  messages "$number" > /tmp/messages
  if [[ $name == 01_kernel_to_kernel ]]; then
    cp /tmp/messages "$expected"
  elif comm -13 "$expected" /tmp/messages | not_announced "$name" > /tmp/unexpected; then
    echo 'the kernel logged what nobody announced:' >> "/lab/$name.log"
    cat /tmp/unexpected >> "/lab/$name.log"
    if ((rc == 0)); then rc=70; fi
  fi
  if ((rc == 0)); then
    printf 'vm %d/%d %s: ok, %d s\n' "$number" "$total" "$name" $((SECONDS - start))
    return
  fi
  clean_up
  failed+=("$name")
  printf 'vm %d/%d %s: FAILED with %d after %d s; the end of its log:\n' \
    "$number" "$total" "$name" "$rc" $((SECONDS - start))
  tail -n 60 "/lab/$name.log"
}

: > "$expected"
network_up
for ((round = 0; round < rounds; round++)); do
  for name; do run_case "$name"; done
done
if ((${#failed[@]} > 0)); then
  echo "vm: FAILED: ${failed[*]}"
  exit 1
fi
echo "vm: all $total cases passed"
