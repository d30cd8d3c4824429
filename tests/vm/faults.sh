# shellcheck shell=bash
# For the cases that break things: journals (journal.py) and fio on block devices,
# plugins on several of them, wires that are cut. Sourced after lib.sh.
: "${here:?}" "${build:?}" "${address0:?}"

# What the programs said, when the case fails.
trap '(($? == 0)) || tail -n 40 /tmp/faults.*.log >&2' EXIT
rm -f /tmp/faults.*.log

# A journal that has ended is told of by its answer, not by a signal.
trap '' PIPE
declare -A journal_ask journal_answer journal_pid
# The journals that run, in the order of their start.
journals=()

# journal_start NAME DEVICE [OPTION...]: of journal.py.
journal_start() {
  local ask answer fifos=/tmp/journal.$1
  rm -f "$fifos".*
  mkfifo "$fifos.ask" "$fifos.answer"
  python3 "$here/journal.py" "$@" < "$fifos.ask" > "$fifos.answer" &
  journal_pid[$1]=$!
  exec {ask}> "$fifos.ask" {answer}< "$fifos.answer"
  journal_ask[$1]=$ask journal_answer[$1]=$answer
  journals+=("$1")
}
# journal_command COMMAND [NAME...]: to all journals, or these; shows the answers.
journal_command() {
  local command=$1 name line
  shift
  (($# > 0)) || set -- "${journals[@]}"
  for name; do
    echo "$command" >&"${journal_ask[$name]}" || true
  done
  for name; do
    read -r line <&"${journal_answer[$name]}" || fail "$name: the journal has ended"
    echo "$line"
    [[ $line != *': FAILED: '* ]] || fail "$line"
  done
}
# progress LABEL [NAME...]: all journals, or these, go on; says how long they stood.
progress() { journal_command "progress $1" "${@:2}"; }
# journals_end: what must be there is there.
journals_end() {
  local name
  journal_command end
  for name in "${journals[@]}"; do
    wait "${journal_pid[$name]}" || fail "$name: the journal failed"
  done
  journals=()
}

# cut N, mend N: the path between wire0 and wire1 (0) or wire2 and wire3 (1). What
# arrives there is dropped, at both ends; nobody is told.
cut() { nft add element inet cut dead "$(path_ends "$1")"; }
mend() { nft delete element inet cut dead "$(path_ends "$1")"; }
path_ends() {
  local ends=("{ $wire0, $wire1 }" "{ $wire2, $wire3 }")
  echo "${ends[$1]}"
}
# paths_up: the wire, with what cuts it.
paths_up() {
  wire_up
  nft -f - << 'RULES'
table inet cut {
  set dead { type ipv4_addr; }
  chain arriving { type filter hook input priority 0; ip daddr @dead drop; }
}
RULES
}
paths_down() {
  nft delete table inet cut
  wire_down
}

# The paths of both clients.
paths=("$wire0@ip:$wire1" "$wire2@ip:$wire3")

# plugin_on N PORT DEVICE [PARAMETER=VALUE...]: our plugin,
# nbdkit in ${plugins[N]} and what it says in /tmp/faults.nbdkitN.log, behind /dev/nbdN.
plugins=()
plugin_on() {
  local number=$1 port=$2 device=$3 socket=/run/nbd$1.sock
  shift 3
  rm -f "$socket"
  nbdkit -f -U "$socket" "$build/nbdkit-plugin/nbdkit-rnbd-plugin.so" sessname=faults \
    "${paths[@]/#/path=ip:}" "dest_port=$port" fabric=verbs \
    "device_path=$device" "$@" 2> "/tmp/faults.nbdkit$number.log" &
  plugins[number]=$!
  until_true nbdinfo --size "nbd+unix:///?socket=$socket"
  modprobe nbd nbds_max=2
  nbd-client -unix "$socket" "/dev/nbd$number" -C 2 -timeout 1500
  until_true has_size "/dev/nbd$number"
}
has_size() { (($(blockdev --getsize64 "$1") > 0)); }
# plugin_off N
plugin_off() {
  nbd-client -d "/dev/nbd$1"
  until_true is_free "/dev/nbd$1"
  kill "${plugins[$1]}"
  wait "${plugins[$1]}"
}
is_free() { ! nbd-client -c "$1"; }

# path_up PORT PATH: the plugin that uses this port has a queue pair there that works.
path_up() {
  local servers=("$wire1" "$wire3")
  {
    rdma resource show qp link rxe_v0/1 state RTS
    rdma resource show cm_id link rxe_v0/1
  } | awk -v to="${servers[$2]}:$1" '
    { for (i = 1; i < NF; i++) value[$i] = $(i + 1) }
    value["comm"] != "nbdkit" { next }
    !/ cm-idn / { works[value["lqpn"]] = 1; next }
    value["dst-addr"] == to && value["lqpn"] in works { found = 1 }
    END { exit !found }'
}
path_down() { ! path_up "$@"; }
# kernel_path SESSION PATH: the directory of the kernel client's path.
kernel_path() {
  echo "/sys/devices/virtual/rtrs-client/$1/paths/ip:${paths[$2]}"
}
# kernel_path_is SESSION PATH STATE
kernel_path_is() { [[ $(< "$(kernel_path "$1" "$2")/state") == "$3" ]]; }
# kernel_reconnect SESSION PATH: now, not when its half minute is over. Refused while the
# kernel's client is at it already.
kernel_reconnect() {
  kernel_path_is "$1" "$2" connected ||
    echo 1 > "$(kernel_path "$1" "$2")/reconnect" || true
  until_true kernel_path_is "$1" "$2" connected
}

# fio_start NAME DEVICE OFFSET: writes and verifies again and again, in $fio_pid.
fio_start() {
  (cd /tmp && exec fio --name="$1" --filename="$2" --offset="$3" --direct=1 --ioengine=libaio \
    --rw=randwrite --bsrange=512-126976 --blockalign=512 --iodepth=4 --size=2m --loops=100000 \
    --rate=400k --verify=crc32c --verify_fatal=1 --output="/tmp/fio.$1") &
  fio_pid=$!
}
# fio_end NAME: it was still at it, and all it had read back was right.
fio_end() {
  local rc=0
  kill "$fio_pid" || fail "fio $1 has ended: $(cat "/tmp/fio.$1")"
  wait "$fio_pid" || rc=$?
  # What fio says when it was ended by a signal.
  if ((rc != 128)) || ! grep -q 'err= 0:' "/tmp/fio.$1"; then
    fail "fio $1: $rc $(cat "/tmp/fio.$1")"
  fi
}

# Three pairings at once over the same two paths, with a journal each: our plugin to our
# server (/dev/nbd0, with fio beside the journal), our plugin to the kernel's (/dev/nbd1),
# the kernel's client to our server. The parameters are those of rtrs_server.
pairings_up() {
  local disk path
  paths_up
  for disk in cache1 cache2 cache3; do cached_disk "$disk"; done
  mkdir -p /tmp/exports
  ln -sf /dev/cache1 /dev/cache2 /tmp/exports/
  serve
  kernel_server "$@"
  plugin_on 0 2345 cache1
  plugin_on 1 1234 /dev/cache3
  mapped=$(RNBD_PORT=2345 rnbd_map kernel cache2 "${paths[@]/ip:/}")
  for path in 0 1; do all_up "$path"; done
  journal_start plugin_to_server /dev/nbd0
  # The kernel's server cannot say whether it lost anything.
  journal_start plugin_to_kernel /dev/nbd1 --errors flush
  # With its last path the kernel's client gives up.
  journal_start kernel_to_server "/dev/$mapped" --errors any
  fio_start plugin_to_server /dev/nbd0 32m
  progress 'nothing broken'
}
serve() { ADDRESSES="$wire1 $wire3" our_server --dev_search_path /tmp/exports; }
# all_up PATH, all_down PATH: at all three clients.
all_up() {
  local port
  for port in 1234 2345; do until_true path_up "$port" "$1"; done
  kernel_reconnect kernel "$1"
}
all_down() {
  local port
  for port in 1234 2345; do until_true path_down "$port" "$1"; done
  until_true kernel_path_is kernel "$1" disconnected
}
pairings_down() {
  fio_end plugin_to_server
  journals_end
  rnbd_unmap "$mapped"
  kernel_client_stop
  plugin_off 0
  plugin_off 1
  kernel_server_stop
  our_server_stop
  paths_down
}
