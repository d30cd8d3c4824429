# A program that knows nothing of RTRS: rdma-core's rping in the kernel's verbs,
# which checks what it gets, and our fabric as its server.
cable_up 4200
# rping_rounds ADDRESS ROUNDS SIZE
rping_rounds() {
  show_if_failed /tmp/rping-server
  ip netns exec cable "$build/tests/fabric/softroce/rping_server" \
    "$1" 7174 "$2" > /tmp/rping-server 2>&1 &
  server_pid=$!
  until_true grep -x listening /tmp/rping-server
  timeout 120 rping -c -a "$1" -p 7174 -C "$2" -S "$3" -V
  wait "$server_pid"
}
rping_rounds "$cable1" 2000 100
rping_rounds "$cable1" 100 60000
cable_mtu 1500
rping_rounds "$cable1_6" 100 60000
cable_down
