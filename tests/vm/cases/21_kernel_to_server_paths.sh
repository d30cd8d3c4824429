# The kernel's client with two paths and with poll queues, our server.
ram_disk
mkdir -p /tmp/exports
ln -sf /dev/ram0 /tmp/exports/
our_server --dev_search_path /tmp/exports
device=$(RNBD_PORT=2345 rnbd_map paths ram0 "$address0@$address0" "$address1@$address1")
[[ $(cat /sys/devices/virtual/rtrs-client/paths/paths/*/state) == $'connected\nconnected' ]] ||
  fail 'not both paths are connected'
exercise "/dev/$device" /dev/ram0
# One path goes and comes back while data is written.
path=/sys/devices/virtual/rtrs-client/paths/paths/ip:$address0@ip:$address0
fio --name=paths --filename="/dev/$device" --direct=1 --ioengine=libaio \
  --rw=randwrite --bs=4k --iodepth=16 --size=16m --loops=4 --verify=crc32c \
  --verify_fatal=1 --output-format=terse > /dev/null &
writer=$!
sleep 1
echo 1 > "$path/disconnect"
sleep 1
echo 1 > "$path/reconnect"
until_true grep -q '^connected' "$path/state"
wait "$writer"
rnbd_unmap "$device"
device=$(RNBD_PORT=2345 RNBD_OPTS=nr_poll_queues=2 rnbd_map polled ram0 "$address0@$address0")
exercise "/dev/$device" /dev/ram0
rnbd_unmap "$device"
kernel_client_stop
our_server_stop
