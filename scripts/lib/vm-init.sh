#!/bin/bash
# /lab/init: the first process of a guest once its root is mounted. Runs
# /lab/cmd, or a shell when /lab/interactive exists, leaves the results in /lab
# and powers off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 TERM=${TERM:-linux}
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
modprobe configfs
mount -t configfs configfs /sys/kernel/config
mount -t debugfs debugfs /sys/kernel/debug
[[ -e /dev/fd ]] || ln -s /proc/self/fd /dev/fd
read -r name < /lab/name
echo "$name" > /proc/sys/kernel/hostname
ip link set lo up
if [[ -e /lab/shared ]]; then
  mkdir -p /share
  mount -t 9p -o version=9p2000.L,trans=virtio,msize=262144,cache=none share /share
fi
cd /lab || exit
if [[ -e /lab/interactive ]]; then
  setsid -c bash -i < /dev/ttyS0 > /dev/ttyS0 2>&1
else
  setsid bash /lab/cmd >> /lab/out.log 2>&1 < /dev/null
fi
rc=$?
dmesg > /lab/dmesg.log
echo "$rc" > /lab/rc
sync
poweroff -f
