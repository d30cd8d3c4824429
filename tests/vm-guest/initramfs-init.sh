#!/bin/busybox sh
# shellcheck shell=dash
# First process of the guest: mounts the root file system on the NBD drive, which
# is all this one does, and goes on there.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t devtmpfs dev /dev
while read -r module; do $bb insmod "/modules/$module"; done < /modules/order
$bb mount -t ext4 /dev/vda /root || {
  echo 'guest: /dev/vda cannot be mounted'
  $bb poweroff -f
}
$bb mount --move /proc /root/proc
$bb mount --move /dev /root/dev
exec $bb switch_root /root /sbin/init
