# limit: 120
# nbd-client -persist stays attached while nbdkit dies and is started again. Asked
# politely, nbdkit would wait for its client to leave.
cached_disk cache0
mkdir -p /tmp/exports
ln -sf /dev/cache0 /tmp/exports/
our_server --dev_search_path /tmp/exports
plugin 2345 cache0
modprobe nbd nbds_max=2
nbd-client -unix /run/rnbd.sock /dev/nbd0 -persist -nonetlink -timeout 60
dd if=/dev/urandom of=/tmp/data bs=64k count=16 status=none
dd if=/tmp/data of=/dev/nbd0 bs=64k oflag=direct status=none
kill -KILL "$nbdkit_pid"
plugin 2345 cache0
cmp_direct() { dd if=/dev/nbd0 bs=64k count=16 iflag=direct status=none | cmp - /tmp/data; }
until_true 60 cmp_direct
nbd_detach
plugin_stop
our_server_stop
