# A cable that loses, repeats, reorders, damages and delays, both ways.
ram_disk
mkdir -p /tmp/exports
ln -sf /dev/ram0 /tmp/exports/
cable_up 4200
# through FAULTS COMMAND...: with them on the cable, not for ever.
through() {
  # shellcheck disable=SC2086
  cable_faults $1
  echo "netem $1: ${*:2}, $SECONDS s"
  timeout 300 bash -c "$(declare -f fio_verify); set -e; ${*:2}"
  cable_faults_off
}
# Our plugin, the kernel's server. always_invalidate=N: with Y rxe repeats what
# leaves no packet, see 53.
kernel_server always_invalidate=N
softroce_plugin "$cable0" 1234 /dev/ram0
nbd_attach
for faults in 'loss 1%' 'loss 5%' 'loss gemodel 1% 20% 60% 0.1%' \
  'delay 2ms reorder 10% 50%' 'delay 1ms duplicate 10% corrupt 3%'; do
  through "$faults" fio_verify /dev/nbd0 --size=1m
done
nbd_detach
plugin_stop
kernel_server_stop
# The kernel's client, our server. Only writes while packets are sent again; the
# reads that compare come when the cable is good.
softroce_server
block=$(RNBD_PORT=2345 rnbd_map faults ram0 "$cable0@$cable1")
for faults in 'loss gemodel 0.5% 20% 60% 0.05%' 'delay 2ms reorder 10% 50%' \
  'duplicate 5% corrupt 1%'; do
  through "$faults" fio_verify "/dev/$block" --size=1m --do_verify=0
  fio_verify "/dev/$block" --size=1m --verify_only
done
rnbd_unmap "$block"
kernel_client_stop
our_server_stop
cable_down
