# Servers that go and come back under load, with the clients of 70_fault_paths: ours is
# killed; the kernel's ends its connections, then is unloaded and loaded again.
# limit: 1800
#
# What the modules report of lost connections and servers, and of what goes with
# them, depends on what was under way:
# kernel: ^(rtrs|rnbd)_(core|client|server) LN: 
# kernel: ^I/O error, dev rnbdN
# kernel: ^blk_print_req_error: N callbacks suppressed$
# A flush that tells of writes that may be lost, and a write that waited for it:
# kernel: ^block nbdN: Other side returned error \(N\)$
# kernel: ^I/O error, dev nbdN
. "$here/faults.sh"
pairings_up always_invalidate=Y
restart_server() {
  kill -KILL "$server_pid"
  wait "$server_pid" || true
  serve
}
restart_server
# The kernel's client comes back by itself, half a minute later.
progress 'server killed' plugin_to_server kernel_to_server
for path in 0 1; do all_up "$path"; done
restart_server
for path in 0 1; do
  until_true kernel_path_is kernel "$path" disconnected
  kernel_reconnect kernel "$path"
done
progress 'server killed again' plugin_to_server kernel_to_server
for path in /sys/devices/virtual/rtrs-server/faults/paths/*; do echo 1 > "$path/disconnect"; done
progress 'server disconnects' plugin_to_kernel
kernel_server always_invalidate=Y
progress 'server unloaded and loaded' plugin_to_kernel
pairings_down
