# As 51_kernel_to_softroce, with a fresh rkey of a memory window in each
# response. Every packet counts: one that our side throws away makes the kernel
# send again, which soft RoCE (Linux 6.1) does not survive, see 53.
ram_disk
mkdir -p /tmp/exports
ln -sf /dev/ram0 /tmp/exports/
cable_up 4200
softroce_server --always_invalidate=yes
block=$(RNBD_PORT=2345 rnbd_map fresh ram0 "$cable0@$cable1")
exercise "/dev/$block" /dev/ram0
rnbd_unmap "$block"
kernel_client_stop
our_server_stop
if grep dropped /tmp/softroce-server; then fail 'packets of the kernel were thrown away'; fi
cable_down
