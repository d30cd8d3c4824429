# /dev/nbd0 over a restart of nbdkit.
#
# nbd-client 3.24 does not do it by itself with Debian's kernel: by netlink it
# leaves once the device is set up, -persist or not, and nobody reconnects; with
# -nonetlink it stays, but the kernel answers the loss of the server with success
# (NBD_DO_IT returns 0), which it takes for the end. The way round is to start it
# again whenever it ends.
# kernel: ^block nbdN: Receive control failed \(result -N\)$
cached_disk cache0
mkdir -p /tmp/exports
ln -sf /dev/cache0 /tmp/exports/
our_server --dev_search_path /tmp/exports
plugin 2345 cache0
modprobe nbd nbds_max=2
nbd-client -unix /run/rnbd.sock /dev/nbd0 -nonetlink -persist -nofork &
client=$!
until_true nbd_has_size
kill -KILL "$nbdkit_pid"
wait "$client" || fail 'nbd-client failed'
# It ended, as said above: when this fails, the README can be simpler.
until_true nbd_is_free
plugin 2345 cache0
while :; do
  nbd-client -unix /run/rnbd.sock /dev/nbd0 -nonetlink -nofork || true
  sleep 1
done &
keeper=$!
until_true nbd_has_size
dd if=/dev/urandom of=/tmp/data bs=64k count=16 status=none
dd if=/tmp/data of=/dev/nbd0 bs=64k oflag=direct status=none
# Asked politely, nbdkit would wait for its client to leave.
kill -KILL "$nbdkit_pid"
plugin 2345 cache0
until_true nbd_has_size
dd if=/dev/nbd0 bs=64k count=16 iflag=direct status=none | cmp - /tmp/data
exercise /dev/nbd0 /dev/cache0
kill "$keeper"
nbd_detach
plugin_stop
our_server_stop
