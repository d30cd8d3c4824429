# Our plugin behind /dev/nbd0, the kernel's server; a fresh rkey with each answer
# (always_invalidate=Y, the kernel's default).
ram_disk
cached_disk cache0
kernel_server always_invalidate=Y
for disk in ram0 cache0; do
  plugin 1234 "/dev/$disk"
  nbd_attach -C 2
  exercise /dev/nbd0 "/dev/$disk"
  filesystem /dev/nbd0
  nbd_detach
  plugin_stop
done
kernel_server_stop
