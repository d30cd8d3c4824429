# shellcheck shell=bash
# shellcheck disable=SC2034
# Two soft RoCE devices that talk to themselves: two paths of a session.
address0=198.18.0.1
address1=198.18.1.1
network_up() {
  loop_rxe d0 $address0/24
  loop_rxe d1 $address1/24
}

# Two more whose packets really leave: each at one end of a veth pair. Linux
# would deliver what goes from one of its addresses to another by itself, hence
# neighbours that are known and rules for where a request may have come from.
#
# All is received on one processor, and nothing is dropped: packets that overtake
# each other are sent again, and rxe (Linux 6.1) then does again what does not
# leave the queue pair too (the kernel's LOCAL_INV and REG_MR, binds of windows),
# which fails: the connection ends, or hangs (53_kernel_to_softroce_lost).
wire0=198.18.2.1 wire2=198.18.3.1
wire1=198.18.2.2 wire3=198.18.3.2
wire_up() {
  modprobe veth
  ip link add v0 type veth peer name v1
  addr v0 $wire0/24
  addr v1 $wire1/24
  ip addr add $wire2/24 dev v0
  ip addr add $wire3/24 dev v1
  echo 100000 > /proc/sys/net/core/netdev_max_backlog
  echo 1 > /sys/class/net/v0/queues/rx-0/rps_cpus
  echo 1 > /sys/class/net/v1/queues/rx-0/rps_cpus
  rxe v0
  rxe v1
  ip rule add pref 100 lookup local
  ip rule del pref 0
  wire_end v0 v1 101 $wire0 $wire1 $wire2 $wire3
  wire_end v1 v0 102 $wire1 $wire0 $wire3 $wire2
}
# wire_end IFACE OTHER TABLE [ADDRESS OTHER_ADDRESS]...
wire_end() {
  local iface=$1 other=$2 table=$3
  shift 3
  echo 1 > "/proc/sys/net/ipv4/conf/$iface/accept_local"
  while (($# > 0)); do
    ip neigh add "$2" lladdr "$(< "/sys/class/net/$other/address")" dev "$iface" nud permanent
    ip rule add pref 10 iif "$iface" from "$1" to "$2" lookup "$table"
    ip route add "$2" dev "$iface" table "$table"
    shift 2
  done
}
wire_down() {
  rdma link del rxe_v0
  rdma link del rxe_v1
  ip link del v0
  while ip rule del pref 10 2> /dev/null; do :; done
  ip rule add pref 0 lookup local
  ip rule del pref 100
}
