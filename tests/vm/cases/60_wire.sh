# RoCEv2 packets of ours and the kernel's on a wire between two soft RoCE
# devices, captured, and every message of them held against the protocol.
ram_disk
wire_up
mkdir -p /tmp/exports
truncate -s 64M /tmp/exports/disk
capture_start v0 'udp port 4791'
# Little at a time: see wire_up for what rxe does when packets are sent again.
through_plugin() {
  TO=$wire0@ip:$wire1 plugin "$@"
  qemu-io -f raw -c 'write -P 7 0 4k' -c 'write -f -P 8 60k 100k' -c flush \
    -c 'read -P 8 64k 32k' -c 'discard 1M 64k' -c 'write -z 2M 64k' "$nbd_uri"
  plugin_stop
}
for invalidate in no yes; do
  ADDRESSES=$wire1 our_server --dev_search_path /tmp/exports \
    --always_invalidate=$invalidate
  device=$(RNBD_PORT=2345 rnbd_map wired disk "$wire0@$wire1")
  for size in 512 4096 126976; do
    dd if=/dev/urandom "of=/dev/$device" bs=$size count=4 oflag=direct status=none
    dd "if=/dev/$device" of=/dev/null bs=$size count=4 iflag=direct status=none
  done
  rnbd_unmap "$device"
  kernel_client_stop
  through_plugin 2345 disk
  our_server_stop
done
kernel_server
through_plugin 1234 /dev/ram0
kernel_server_stop
capture_check
wire_down
