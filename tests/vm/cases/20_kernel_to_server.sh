# The kernel's client, our server: several devices in one session, rights.
#
# Of the second writer, who is refused:
# kernel: ^rnbd_client LN: <ramN@second> (Opening failed|map_device: failed)
# kernel: ^rtrs_client LN: <second>: IO request failed: error=-N
ram_disk
cached_disk cache0
truncate -s 64M /tmp/exports.img
mkdir -p /tmp/exports
ln -sf /dev/ram0 /dev/cache0 /tmp/exports/
cp /tmp/exports.img /tmp/exports/file0
our_server --dev_search_path /tmp/exports
block=$(RNBD_PORT=2345 rnbd_map ours ram0 "$address0@$address0")
cached=$(RNBD_PORT=2345 rnbd_map ours cache0 "$address0@$address0")
file=$(RNBD_PORT=2345 rnbd_map ours file0 "$address0@$address0")
exercise "/dev/$block" /dev/ram0
exercise "/dev/$cached" /dev/cache0
exercise "/dev/$file" /tmp/exports/file0
filesystem "/dev/$cached"
filesystem "/dev/$file"
# A second writer is refused, a reader besides is not.
if RNBD_PORT=2345 rnbd_map second ram0 "$address0@$address0"; then
  fail 'a second writer got in'
fi
reader=$(RNBD_PORT=2345 RNBD_OPTS=access_mode=ro rnbd_map second ram0 "$address0@$address0")
cmp -n 4194304 "/dev/$reader" "/dev/$block"
if dd if=/dev/zero "of=/dev/$reader" bs=4k count=1 oflag=direct; then
  fail 'a read-only device was written'
fi
rnbd_unmap "$reader"
rnbd_unmap "$block"
# Two that migrate may both have it.
first=$(RNBD_PORT=2345 RNBD_OPTS=access_mode=migration rnbd_map ours ram0 "$address0@$address0")
second=$(RNBD_PORT=2345 RNBD_OPTS=access_mode=migration rnbd_map second ram0 "$address0@$address0")
for device in "$first" "$second" "$cached" "$file"; do rnbd_unmap "$device"; done
kernel_client_stop
our_server_stop
