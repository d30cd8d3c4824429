# The server's guest of tests/vm/run's pair: the kernel's server, then ours.
. "$VM_SOURCE/tests/vm/start.sh"
soft_roce "$wire1"
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
