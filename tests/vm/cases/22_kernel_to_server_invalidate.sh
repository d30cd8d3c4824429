# The kernel's client, our server with --always_invalidate=yes: each response
# brings a fresh rkey of a type 1 memory window. A chunk goes from connection to
# connection; two paths have rkeys of their own.
ram_disk
cached_disk cache0
mkdir -p /tmp/exports
ln -sf /dev/ram0 /dev/cache0 /tmp/exports/
our_server --dev_search_path /tmp/exports --always_invalidate=yes
device=$(RNBD_PORT=2345 rnbd_map fresh cache0 "$address0@$address0")
exercise "/dev/$device" /dev/cache0
filesystem "/dev/$device"
# One request at a time takes the lowest chunk that is free, and a connection by
# its processor: the same chunk from both.
for round in 1 2 3 4; do
  for cpu in 0 1; do
    taskset -c "$cpu" dd if=/dev/urandom "of=/dev/$device" bs=64k count=16 \
      seek=$((round * 32 + cpu * 16)) oflag=direct status=none
    taskset -c $((1 - cpu)) cmp -n 1048576 -i $(((round * 32 + cpu * 16) * 65536)) \
      "/dev/$device" /dev/cache0
  done
done
rnbd_unmap "$device"
device=$(RNBD_PORT=2345 rnbd_map twice ram0 "$address0@$address0" "$address1@$address1")
exercise "/dev/$device" /dev/ram0
rnbd_unmap "$device"
kernel_client_stop
# Our client takes the fresh rkeys too.
plugin 2345 cache0
nbd_attach -C 2
exercise /dev/nbd0 /dev/cache0
nbd_detach
plugin_stop
our_server_stop
# Smaller queues than the requests in flight would like.
our_server --dev_search_path /tmp/exports --always_invalidate=yes \
  --sess_queue_depth 4 --max_chunk_size 16384
device=$(RNBD_PORT=2345 rnbd_map small cache0 "$address0@$address0")
exercise "/dev/$device" /dev/cache0
rnbd_unmap "$device"
kernel_client_stop
our_server_stop
