# The kernel's modules unloaded and loaded again between uses, on either side;
# 100 connects and disconnects in a row leave nothing behind.
cached_disk cache0
mkdir -p /tmp/exports
ln -sf /dev/cache0 /tmp/exports/
resources() { rdma resource show | sed -E 's/cm_id [0-9]+//' | tr -s ' ' | sort; }
for _ in 1 2; do
  kernel_server
  plugin 1234 /dev/cache0
  qemu-io -f raw -c 'write -P 7 0 1M' -c 'read -P 7 0 1M' nbd+unix:///?socket=/run/rnbd.sock
  plugin_stop
  kernel_server_stop
done
our_server --dev_search_path /tmp/exports
for _ in 1 2; do
  device=$(RNBD_PORT=2345 rnbd_map again cache0 "$address0@$address0")
  cmp -n 1048576 "/dev/$device" /dev/cache0
  rnbd_unmap "$device"
  kernel_client_stop
done
before=$(resources)
for _ in $(seq 100); do
  device=$(RNBD_PORT=2345 rnbd_map again cache0 "$address0@$address0")
  rnbd_unmap "$device"
done
kernel_client_stop
same_resources() { [[ $(resources) == "$before" ]]; }
until_true same_resources
our_server_stop
