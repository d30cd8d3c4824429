# A block device that grows while our server has it open: whoever knows reads and writes
# to the new end.
mkdir -p /tmp/exports
modprobe loop
truncate -s 4M /tmp/grows
loop=$(losetup --find --show --direct-io=off /tmp/grows)
ln -sf "$loop" /tmp/exports/grows
our_server --dev_search_path /tmp/exports
device=$(RNBD_PORT=2345 rnbd_map grows grows "$address0@$address0")
(($(blockdev --getsz "/dev/$device") == 8192)) || fail 'not of the size it has'
truncate -s 8M /tmp/grows
losetup --set-capacity "$loop"
# The protocol says nothing of it: the kernel's client is told by hand, in sectors.
echo 16384 > "/sys/block/$device/rnbd/resize"
(($(blockdev --getsz "/dev/$device") == 16384)) || fail 'the kernel did not resize it'
dd if=/dev/urandom of=/tmp/data bs=1M count=5 status=none
dd if=/tmp/data "of=/dev/$device" bs=1M seek=3 oflag=direct conv=fsync status=none
dd "if=/dev/$device" bs=1M skip=3 iflag=direct status=none | cmp - /tmp/data
tail -c 5242880 "$loop" | cmp - /tmp/data
# Who opens it now sees the new size.
plugin 2345 grows access_mode=ro
(($(nbdinfo --size "$nbd_uri") == 8388608)) || fail 'a new session sees the old size'
nbdcopy "$nbd_uri" - | tail -c 5242880 | cmp - /tmp/data
plugin_stop
rnbd_unmap "$device"
kernel_client_stop
our_server_stop
losetup --detach "$loop"
