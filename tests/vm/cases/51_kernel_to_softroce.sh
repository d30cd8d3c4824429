# The kernel's client on soft RoCE, our server in a network namespace without
# an RDMA device.
ram_disk
cached_disk cache0
mkdir -p /tmp/exports
ln -sf /dev/ram0 /dev/cache0 /tmp/exports/
cable_up 4200
show_if_failed /tmp/softroce-server
ip netns exec cable "$build/server/rnbd-server" --fabric softroce \
  --listen "$cable1" --listen "$cable1_6" --port_nr 2345 \
  --dev_search_path /tmp/exports > /tmp/softroce-server 2>&1 &
server_pid=$!
until_true grep '^listening on' /tmp/softroce-server
cached=$(RNBD_PORT=2345 rnbd_map ours cache0 "$cable0@$cable1")
exercise "/dev/$cached" /dev/cache0
filesystem "/dev/$cached"
rnbd_unmap "$cached"
# Small packets, IPv6.
cable_mtu 1500
block=$(RNBD_PORT=2345 rnbd_map six ram0 "$cable0_6@$cable1_6")
exercise "/dev/$block" /dev/ram0
rnbd_unmap "$block"
kernel_client_stop
our_server_stop
cable_down
