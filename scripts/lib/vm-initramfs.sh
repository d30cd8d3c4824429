#!/bin/busybox sh
# shellcheck shell=dash
# The first process of a guest of scripts/vm: mounts this machine's root
# read-only under an overlay, then goes on as /lab/init. With "vm_probe" on the
# kernel command line it only says that it runs.
bb=/bin/busybox
$bb mount -t proc proc /proc
if $bb grep -q vm_probe /proc/cmdline; then
  echo "vm probe: alive"
  $bb poweroff -f
fi
$bb mount -t sysfs sys /sys
$bb mount -t devtmpfs dev /dev
while read -r ko; do $bb insmod "/modules/$ko"; done < /modules/order
share=version=9p2000.L,trans=virtio,msize=262144
$bb mount -t 9p -o ro,cache=loose,$share hostroot /ro || {
  echo "vm: no root file system"
  $bb poweroff -f
}
$bb mount -t tmpfs -o size=75% tmpfs /rw
$bb mkdir -p /rw/upper /rw/work
$bb mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work overlay /new
for d in proc sys dev run tmp lab lib/modules; do $bb mkdir -p /new/$d; done
$bb mount -t 9p -o cache=none,$share lab /new/lab
$bb mount -t 9p -o ro,cache=loose,$share modules /new/lib/modules
$bb mount -t tmpfs tmpfs /new/run
for d in proc sys dev; do $bb mount --move /$d /new/$d; done
exec $bb switch_root /new /lab/init
