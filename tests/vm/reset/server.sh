# The server's guest of tests/vm/run's server_reset: our server with files on a file
# system, on a disk that survives. Told so, it resets itself without a word to anyone
# and boots again.
. "$VM_SOURCE/tests/vm/start.sh"
boot=1
while [[ -e /share/next$boot ]]; do boot=$((boot + 1)); done
[[ ! -e /share/up$boot ]] || fail 'it has booted again, and nobody told it to'
soft_roce "$wire1"
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
