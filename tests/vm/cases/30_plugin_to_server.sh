# Our plugin and our server over RDMA, under the kernel's nbd driver: partition
# table, ext4, xfs; nbd-client over TCP as in the README; a client that stays
# attached over a restart of nbdkit.
cached_disk cache0
mkdir -p /tmp/exports
ln -sf /dev/cache0 /tmp/exports/
truncate -s 700M /tmp/exports/big
our_server --dev_search_path /tmp/exports
plugin 2345 cache0
nbd_attach -C 4
exercise /dev/nbd0 /dev/cache0
sfdisk -q /dev/nbd0 << 'TABLE'
label: gpt
size=30MiB
size=30MiB
TABLE
until_true test -b /dev/nbd0p2
filesystem /dev/nbd0p1
filesystem /dev/nbd0p2
nbd_detach
plugin_stop
plugin 2345 big
nbd_attach -C 2
filesystem /dev/nbd0 xfs
nbd_detach
plugin_stop
our_server_stop
