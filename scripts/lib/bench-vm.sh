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
# shellcheck source=tests/vm/network.sh
. "${VM_SOURCE:?}/tests/vm/network.sh"
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

# plugin ROW NUMBER PORT DEVICE [PATH [FABRIC [NAMESPACE]]]
plugin() {
  in_namespace "${7:-}" nbdkit -f -U "/run/$1.sock" \
    "$build/nbdkit-plugin/nbdkit-rnbd-plugin.so" "sessname=$1" \
    "path=${5:-ip:$address}" "dest_port=$3" "fabric=${6:-verbs}" "device_path=$4" &
  nbd "$1" "$2"
}

# server ADDRESS [FABRIC [NAMESPACE]]: rnbd-server on port 2345.
server() {
  local fabric=${2:-verbs}
  in_namespace "${3:-}" "$build/server/rnbd-server" --fabric "$fabric" \
    --listen "$1" --port_nr 2345 --dev_search_path /tmp/exports \
    --log_level warning > "/run/server-$1" &
  until_true grep -q '^listening on' "/run/server-$1"
}

# in_namespace NAMESPACE COMMAND...: as it is if there is none.
in_namespace() {
  local namespace=$1
  shift
  ${namespace:+ip netns exec "$namespace"} "$@"
}

# wire_between NAMESPACE IFACE ADDRESS NAMESPACE IFACE ADDRESS: like wire_up, with
# an end in a namespace: there UDP port 4791 is free, and nothing but the wire
# leads to the other end. No namespace: the initial one.
wire_between() {
  modprobe veth
  ip link add "$2" type veth peer name "$5"
  wire_between_end "$1" "$2" "$3"
  wire_between_end "$4" "$5" "$6"
  until_true in_namespace "$1" ping -c 1 -W 1 "$6"
}
wire_between_end() {
  if [[ -n $1 ]]; then
    ip netns add "$1"
    ip link set "$2" netns "$1"
    ip -n "$1" link set lo up
  fi
  in_namespace "$1" ip link set "$2" mtu 4200
  in_namespace "$1" ip addr add "$3/24" dev "$2"
  in_namespace "$1" ip link set "$2" up
  in_namespace "$1" tee "/sys/class/net/$2/queues/rx-0/rps_cpus" <<< 1 > /dev/null
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
modprobe brd rd_nr=11 rd_size=$((disk_mib * 1024))
for ((i = 0; i < 11; i++)); do
  dd if=/dev/urandom "of=/dev/ram$i" bs=1M count=$disk_mib status=none
done
modprobe rtrs_server always_invalidate=N
modprobe rnbd_server
mkdir /tmp/exports
ln -s /dev/ram* /tmp/exports/
server $address

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
if wanted wire-rxe || wanted wire-rxe-kernel; then wire_up; fi
if wanted wire-rxe; then
  server "$wire1"
  plugin wire-rxe 4 2345 ram7 "ip:$wire0@ip:$wire1"
fi
if wanted wire-softroce; then
  wire_between soft0 vs0 198.18.8.1 soft1 vs1 198.18.8.2
  server 198.18.8.2 softroce soft1
  plugin wire-softroce 5 2345 ram8 ip:198.18.8.2 softroce soft0
fi
if wanted wire-rxe-kernel; then
  plugin wire-rxe-kernel 6 1234 /dev/ram9 "ip:$wire0@ip:$wire1"
fi
if wanted wire-softroce-kernel; then
  wire_between soft2 vk0 198.18.9.1 '' vk1 198.18.9.2
  rxe vk1
  until_true grep -q 'ffff:c612:0402' -r /sys/class/infiniband/rxe_vk1/ports/1/gids
  plugin wire-softroce-kernel 7 1234 /dev/ram10 ip:198.18.9.2 softroce soft2
fi
exec python3 "$VM_SOURCE/scripts/lib/bench_vm_guest.py" "${devices[@]}" "$@"
