# The server's guest of tests/vm/run's pair: the kernel's server, then ours, on
# eth0. VM_SOURCE and VM_PARAM (the
# build) say where things are.
set -euo pipefail
. /lab/lib.sh
. "$VM_SOURCE/tests/vm/network.sh"
build=$VM_PARAM
here=$VM_SOURCE/tests/vm
. "$here/lib.sh"
addr eth0 "$wire1/24"
rxe eth0
modprobe ib_uverbs
modprobe rdma_ucm
ram_disk
kernel_server always_invalidate=N
post kernel
await kernel-done 900
kernel_server_stop
mkdir -p /tmp/exports
ln -s /dev/ram0 /tmp/exports/
ADDRESSES=$wire1 our_server --dev_search_path /tmp/exports
post ours
await ours-done 900
our_server_stop
! dmesg --level=emerg,alert,crit,err | grep .
