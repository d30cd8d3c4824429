# The client's guest of tests/vm/run's server_reset: our plugin and the kernel's client
# write while the server's machine is reset, and hold what they find afterwards against
# what they were promised.
. "$VM_SOURCE/tests/vm/start.sh"
. "$here/faults.sh"
# A queue pair that ends while a packet of its waits in the network card crashes soft
# RoCE (Linux 6.1), unless the driver lets go of packets at once.
rmmod virtio_net
modprobe virtio_net napi_tx=0
soft_roce "$wire0"
await up1 300
# A first packet that waits for a neighbour's address may come after its answer.
ping -c 1 -w 60 "$wire1"
paths=("$wire0@ip:$wire1")
# A guest takes long to boot on a busy machine.
plugin_on 0 2345 plugin io_timeout=1200
block=$(RNBD_PORT=2345 rnbd_map kernel kernel "$wire0@$wire1")
journal_start plugin /dev/nbd0 --may-reset --errors flush
journal_start kernel "/dev/$block" --may-reset --errors any
progress 'before the reset'
# From now on there is always something to be lost.
journal_command hold
post next1 reset
await up2 600
kernel_reconnect kernel 0
progress 'after the reset' | tee /tmp/after
# Our client has to tell, once, that answered writes are lost.
grep -Eq '^plugin: .*errors: 1 x EIO of (flush|FUA write)$' /tmp/after ||
  fail 'no flush told of the loss'
journals_end
rnbd_unmap "$block"
kernel_client_stop
plugin_off 0
post next2 done
