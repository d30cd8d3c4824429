#!/bin/bash
# Runs in a guest, for scripts/bench --vm: bench-vm.sh BUILD ROW... -- OPTION...
#
# Sets up all rows at once, each with a ram disk of its own, so that a round can
# go from one to the next without a pause; then measures with bench_vm_guest.py,
# which gets ROW=DEVICE... and the options. Results: /lab/results.json.
set -euo pipefail
build=$1
shift
rows=()
while [[ $1 != -- ]]; do
  rows+=("$1")
  shift
done
shift
# shellcheck source=scripts/lib/vm-guest.sh
. /lab/lib.sh
address=198.18.0.1
disk_mib=64
devices=()

# until_true COMMAND...: a limit against hangs only.
until_true() {
  local limit=$((SECONDS + 120))
  until "$@" > /dev/null 2>&1; do
    ((SECONDS < limit)) || {
      echo "bench: waited too long for: $*" >&2
      exit 1
    }
    sleep 0.2
  done
}
wanted() { [[ " ${rows[*]} " == *" $1 "* ]]; }
add() {
  devices+=("$1=/dev/$2")
  echo "set up: $1 is /dev/$2" >&2
}
has_size() { (($(blockdev --getsize64 "/dev/$1") > 0)); }

# nbd ROW NUMBER: /dev/nbdNUMBER on /run/ROW.sock.
nbd() {
  until_true test -S "/run/$1.sock"
  modprobe nbd nbds_max=8
  nbd-client -unix "/run/$1.sock" "/dev/nbd$2" -C 2 > /dev/null
  until_true has_size "nbd$2"
  add "$1" "nbd$2"
}

# plugin ROW NUMBER PORT DEVICE
plugin() {
  nbdkit -f -U "/run/$1.sock" "$build/nbdkit-plugin/nbdkit-rnbd-plugin.so" \
    "sessname=$1" "path=ip:$address" "dest_port=$3" fabric=verbs \
    "device_path=$4" &
  nbd "$1" "$2"
}

nvme_device() {
  local sys
  for sys in /sys/class/nvme/nvme*/nvme*n*; do
    [[ -e $sys ]] && basename "$sys" | sed 's/c[0-9]*n/n/' && return
  done
  return 1
}

nvme_over_rdma() {
  modprobe nvmet_rdma
  modprobe nvme_rdma
  local target=/sys/kernel/config/nvmet
  mkdir $target/subsystems/bench $target/subsystems/bench/namespaces/1 $target/ports/1
  echo 1 > $target/subsystems/bench/attr_allow_any_host
  echo "$1" > $target/subsystems/bench/namespaces/1/device_path
  echo 1 > $target/subsystems/bench/namespaces/1/enable
  echo rdma > $target/ports/1/addr_trtype
  echo ipv4 > $target/ports/1/addr_adrfam
  echo $address > $target/ports/1/addr_traddr
  echo 4420 > $target/ports/1/addr_trsvcid
  ln -s $target/subsystems/bench $target/ports/1/subsystems/bench
  nvme connect -t rdma -a $address -s 4420 -n bench > /dev/null
  until_true nvme_device
  add nvme "$(nvme_device)"
}

loop_rxe d0 $address/24
modprobe brd rd_nr=8 rd_size=$((disk_mib * 1024))
for ((i = 0; i < 8; i++)); do
  dd if=/dev/urandom "of=/dev/ram$i" bs=1M count=$disk_mib status=none
done
modprobe rtrs_server always_invalidate=N
modprobe rnbd_server
mkdir /tmp/exports
ln -s /dev/ram* /tmp/exports/
"$build/server/rnbd-server" --fabric verbs --listen $address --port_nr 2345 \
  --dev_search_path /tmp/exports --log_level warning &
until_true sh -c 'rdma resource show cm_id | grep -q "LISTEN.*:2345 "'

if wanted kernel-kernel; then
  add kernel-kernel "$(rnbd_map bench_k /dev/ram0 $address@$address)"
fi
if wanted kernel-ours; then
  add kernel-ours "$(RNBD_PORT=2345 rnbd_map bench_o ram1 $address@$address)"
fi
if wanted plugin-kernel; then plugin plugin-kernel 0 1234 /dev/ram2; fi
if wanted plugin-ours; then plugin plugin-ours 1 2345 ram3; fi
if wanted nvme; then nvme_over_rdma /dev/ram4; fi
if wanted nbdkit; then
  nbdkit -f -U /run/nbdkit.sock file /dev/ram5 &
  nbd nbdkit 2
fi
if wanted qemu-nbd; then
  qemu-nbd -t -e 8 -f raw --cache=none -k /run/qemu-nbd.sock /dev/ram6 &
  nbd qemu-nbd 3
fi
exec python3 "${VM_SOURCE:?}/scripts/lib/bench_vm_guest.py" "${devices[@]}" "$@"
