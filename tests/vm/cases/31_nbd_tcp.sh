# As in the README: nbd-client over TCP to nbdkit with our plugin, which uses our
# server over RDMA; several NBD connections.
cached_disk cache0
mkdir -p /tmp/exports
ln -sf /dev/cache0 /tmp/exports/
our_server --dev_search_path /tmp/exports
nbd_uri=nbd://localhost
AT='-p 10809' plugin 2345 cache0
modprobe nbd nbds_max=2
nbd-client localhost /dev/nbd0 -C 4
until_true nbd_has_size
exercise /dev/nbd0 /dev/cache0
filesystem /dev/nbd0
nbd_detach
plugin_stop
our_server_stop
