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
wire0=198.18.2.1
wire1=198.18.2.2
wire_up() {
  modprobe veth
  ip link add v0 type veth peer name v1
  addr v0 $wire0/24
  addr v1 $wire1/24
  echo 100000 > /proc/sys/net/core/netdev_max_backlog
  echo 1 > /sys/class/net/v0/queues/rx-0/rps_cpus
  echo 1 > /sys/class/net/v1/queues/rx-0/rps_cpus
  rxe v0
  rxe v1
  ip rule add pref 100 lookup local
  ip rule del pref 0
  wire_end v0 v1 $wire0 $wire1 101
  wire_end v1 v0 $wire1 $wire0 102
}
# wire_end IFACE OTHER ADDRESS OTHER_ADDRESS TABLE
wire_end() {
  echo 1 > "/proc/sys/net/ipv4/conf/$1/accept_local"
  ip neigh add "$4" lladdr "$(< "/sys/class/net/$2/address")" dev "$1" nud permanent
  ip rule add pref 10 iif "$1" from "$3" to "$4" lookup "$5"
  ip route add "$4" dev "$1" table "$5"
}
wire_down() {
  rdma link del rxe_v0
  rdma link del rxe_v1
  ip link del v0
  ip rule del pref 10
  ip rule del pref 10
  ip rule add pref 0 lookup local
  ip rule del pref 100
}
