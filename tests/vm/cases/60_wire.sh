# RoCEv2 packets of ours and the kernel's on a wire between two soft RoCE
# devices, captured, and every message of them held against the protocol.
ram_disk
wire_up
mkdir -p /tmp/exports
truncate -s 64M /tmp/exports/disk
capture_start v0 'udp port 4791'
for invalidate in no yes; do
  ADDRESSES=$wire1 our_server --dev_search_path /tmp/exports \
    --always_invalidate=$invalidate
  device=$(RNBD_PORT=2345 rnbd_map wired disk "$wire0@$wire1")
  python3 "$here/blockcheck.py" "/dev/$device"
  rnbd_unmap "$device"
  kernel_client_stop
  TO=$wire0@ip:$wire1 plugin 2345 disk
  nbd_attach
  python3 "$here/blockcheck.py" /dev/nbd0
  nbd_detach
  plugin_stop
  our_server_stop
done
kernel_server
TO=$wire0@ip:$wire1 plugin 1234 /dev/ram0
nbd_attach
python3 "$here/blockcheck.py" /dev/nbd0
nbd_detach
plugin_stop
kernel_server_stop
capture_check
wire_down
