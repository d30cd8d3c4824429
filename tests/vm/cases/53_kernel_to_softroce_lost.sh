# What soft RoCE of Linux 6.1 does when a request of the kernel's client is lost
# while others follow it that read, and the way out.
#
# Each read is two work requests: one registers memory and leaves no packet, one
# sends the request. When an earlier packet has to be sent again, rxe does all
# that came after it again, the registrations too. They fail ("not free"), and
# its send queue is in error, from which on it throws acknowledgements away: the
# request before never completes, so the error behind it is never reported. The
# queue pair stays RTS, the path connected, heartbeats go on over another queue
# pair, and the requests of this one wait for ever, with any server.
# limit: 500
# kernel: rdma_rxe: rxe_reg_fast_mr: mr->lkey = N not free
# kernel: rtrs_client LN: <lost>: Failed IB_WR_(REG_MR|LOCAL_INV): WR flushed
ram_disk
mkdir -p /tmp/exports
ln -sf /dev/ram0 /tmp/exports/
cable_up 4200
softroce_server
block=$(RNBD_PORT=2345 rnbd_map lost ram0 "$cable0@$cable1" "$cable0_6@$cable1_6")
# The 20th read request of the path over IPv4: 120 bytes with the IP header.
ip netns exec cable nft -f - << 'END'
table ip lose {
  chain in {
    type filter hook prerouting priority 0
    udp dport 4791 ip length 120 numgen inc mod 100000 19 drop
  }
}
END
complaints() { dmesg | grep -c 'rxe_reg_fast_mr.*not free' || true; }
before=$(complaints)
not_free() { (($(complaints) > before)); }
# way_out PATH: connects it again; its requests go on over the other one.
paths=/sys/devices/virtual/rtrs-client/lost/paths
way_out() {
  echo 1 > "$paths/$1/reconnect"
  until_true grep -x connected "$paths/$1/state"
}
fio --name=reads --filename="/dev/$block" --direct=1 --ioengine=libaio \
  --rw=randread --bs=4k --iodepth=8 --size=1m --output-format=terse > /dev/null &
fio_pid=$!
until_true not_free
rdma resource show qp > /tmp/queue-pairs
if grep 'link rxe_vc0.* type RC ' /tmp/queue-pairs | grep -v ' state RTS '; then
  fail 'soft RoCE reports the error: this case and the README say that it does not'
fi
grep -x connected "$paths/ip:$cable0@ip:$cable1/state"
way_out "ip:$cable0@ip:$cable1"
# On a busy machine the other path may have met the same, and then this again.
for path in "ip:$cable0_6@ip:$cable1_6" "ip:$cable0@ip:$cable1"; do
  timeout 60 tail --pid="$fio_pid" -f /dev/null && break
  way_out "$path"
done
wait "$fio_pid"
ip netns exec cable nft delete table ip lose
fio_verify "/dev/$block" --size=1m
rnbd_unmap "$block"
kernel_client_stop
our_server_stop
cable_down
