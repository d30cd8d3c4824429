# The reference: what the kernel logs when it talks to itself.
ram_disk
cached_disk cache0
kernel_server
for disk in ram0 cache0; do
  device=$(rnbd_map reference "/dev/$disk" "$address0@$address0")
  exercise "/dev/$device" "/dev/$disk"
  filesystem "/dev/$device"
  rnbd_unmap "$device"
done
kernel_client_stop
kernel_server_stop
