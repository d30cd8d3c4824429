# The client's guest of tests/vm/run's pair: our plugin to the kernel's server,
# the kernel's client and our plugin to ours; with the capture that QEMU made of
# the link, held against the protocol by tests/vm/run.
. "$VM_SOURCE/tests/vm/start.sh"
soft_roce "$wire0"
through_plugin() {
  TO=$wire1 plugin "$@"
  nbd_attach
  python3 "$here/blockcheck.py" /dev/nbd0
  nbd_detach
  plugin_stop
}
await kernel 300
# A first packet that waits for a neighbour's address may come after its answer.
ping -c 1 -w 60 "$wire1"
through_plugin 1234 /dev/ram0
post kernel-done
await ours 300
through_plugin 2345 ram0
device=$(RNBD_PORT=2345 rnbd_map pair ram0 "$wire0@$wire1")
python3 "$here/blockcheck.py" "/dev/$device"
rnbd_unmap "$device"
kernel_client_stop
post ours-done
! dmesg --level=emerg,alert,crit,err | grep .
