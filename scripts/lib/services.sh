# shellcheck shell=bash
# Starting rnbd-server and nbdkit for a person to watch. Sourced after common.sh.
#
# Expects: $work (a directory of this run), $build (the build tree).
# Every process that is started lands in `pids`; stop_services ends them all.
: "${root:?common.sh comes first}"
pids=()

# wait_for WHAT LOG COMMAND...: until COMMAND succeeds, or the process that was
# started last has ended, or 30 seconds are over.
wait_for() {
  local what=$1 log=$2 deadline=$((SECONDS + 30)) pid=${pids[-1]}
  shift 2
  until "$@"; do
    if ! kill -0 "$pid" 2> /dev/null || ((SECONDS > deadline)); then
      cat "$log" >&2
      die "no $what"
    fi
    sleep 0.02
  done
}

# start_server LOG DIRECTORY ADDRESS: sets server_port.
start_server() {
  local log=$1 directory=$2 address=$3
  "${build:?}/server/rnbd-server" --dev_search_path "$directory" --listen "$address" \
    --port_nr 0 > "$log" 2>&1 < /dev/null &
  pids+=($!)
  wait_for "rnbd-server on $address" "$log" grep -q '^listening on ' "$log"
  # shellcheck disable=SC2034
  server_port=$(sed -n 's/^listening on .*:\([0-9]*\) (.*/\1/p' "$log" | head -n 1)
}

# start_nbdkit LOG SOCKET PARAMETER...
start_nbdkit() {
  local log=$1 socket=$2
  shift 2
  nbdkit -f -U "$socket" "${build:?}/nbdkit-plugin/nbdkit-rnbd-plugin.so" \
    "$@" > "$log" 2>&1 < /dev/null &
  pids+=($!)
  # The socket is there before the plugin has connected; an answer comes after.
  wait_for "socket of nbdkit" "$log" test -S "$socket"
  wait_for "answer from nbdkit" "$log" answers "$socket"
}

answers() { timeout 60 nbdinfo --size "nbd+unix:///?socket=$1" > /dev/null 2>&1; }

# The last one started ends first: the client before its server.
stop_services() {
  local i
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill "${pids[i]}" 2> /dev/null || true
    # After 20 seconds a process that hangs is no longer asked.
    timeout 20 tail --pid="${pids[i]}" -s 0.05 -f /dev/null || kill -KILL "${pids[i]}" 2> /dev/null || true
    wait "${pids[i]}" 2> /dev/null || true
  done
  pids=()
}
