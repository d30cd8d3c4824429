# The server's guest of tests/vm/run's server_reset: our server with files on a file
# system, on a disk that survives. Told so, it resets itself without a word to anyone
# and boots again. VM_SOURCE and VM_PARAM (the build) say where things are.
set -euo pipefail
. /lab/lib.sh
. "$VM_SOURCE/tests/vm/network.sh"
build=$VM_PARAM
here=$VM_SOURCE/tests/vm
. "$here/lib.sh"
boot=1
while [[ -e /share/next$boot ]]; do boot=$((boot + 1)); done
[[ ! -e /share/up$boot ]] || fail 'it has booted again, and nobody told it to'
addr eth0 "$wire1/24"
rxe eth0
modprobe ib_uverbs
modprobe rdma_ucm
modprobe virtio_blk
mkdir -p /mnt/disk
if ((boot == 1)); then
  mkfs.ext4 -q /dev/vda
  mount -t ext4 /dev/vda /mnt/disk
  truncate -s 32M /mnt/disk/plugin /mnt/disk/kernel
else
  # Its journal brings the file system in order.
  mount -t ext4 /dev/vda /mnt/disk
fi
sync
ADDRESSES=$wire1 our_server --dev_search_path /mnt/disk
post "up$boot"
[[ $(await "next$boot" 1200) == done ]] || echo b > /proc/sysrq-trigger
our_server_stop
umount /mnt/disk
fsck.ext4 -fn /dev/vda
! dmesg --level=emerg,alert,crit,err | grep -v 'soft lockup' | grep .
