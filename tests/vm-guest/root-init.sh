#!/bin/busybox sh
# shellcheck shell=dash
# /sbin/init on the NBD drive: writes, syncs, says what it wrote, powers off.
bb=/bin/busybox
# shellcheck disable=SC2016  # the dollars are those of awk
echo "guest: root is $($bb awk '$2 == "/" { print $1, $3 }' /proc/mounts | $bb tail -n 1)"
token=$($bb sed -n 's/.*token=\([^ ]*\).*/\1/p' /proc/cmdline)
$bb mkdir -p /written
echo "$token" > /written/token
$bb dd if=/dev/urandom of=/written/data bs=1M count=8 2> /dev/null
$bb sync
echo 3 > /proc/sys/vm/drop_caches
echo "guest: sha256 $($bb sha256sum < /written/data | $bb cut -d' ' -f1)"
echo "guest: seed $($bb sha256sum < /seed | $bb cut -d' ' -f1)"
$bb rm /to-be-removed
$bb dmesg | $bb grep -iE 'error|warn|call trace' | $bb sed 's/^/guest log: /'
$bb mount -o remount,ro /
$bb sync
echo 'guest: done'
$bb poweroff -f
