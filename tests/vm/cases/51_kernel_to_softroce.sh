# The kernel's client on soft RoCE, our server in a network namespace without
# an RDMA device.
ram_disk
cached_disk cache0
mkdir -p /tmp/exports
ln -sf /dev/ram0 /dev/cache0 /tmp/exports/
cable_up 4200
softroce_server
cached=$(RNBD_PORT=2345 rnbd_map ours cache0 "$cable0@$cable1")
exercise "/dev/$cached" /dev/cache0
filesystem "/dev/$cached"
rnbd_unmap "$cached"
# Small packets, IPv6.
cable_mtu 1500
block=$(RNBD_PORT=2345 rnbd_map six ram0 "$cable0_6@$cable1_6")
exercise "/dev/$block" /dev/ram0
rnbd_unmap "$block"
# Large frames, which carry packets no larger.
cable_mtu 9000
block=$(RNBD_PORT=2345 rnbd_map nine ram0 "$cable0@$cable1")
fio_verify "/dev/$block" --size=4m
rnbd_unmap "$block"
kernel_client_stop
our_server_stop
cable_down
