# shellcheck shell=bash
# Shell functions for scripts that run in a guest of scripts/vm: . /lab/lib.sh

# addr IFACE ADDR/LEN [MTU]: brings an interface up. MTU 4200 gives RDMA MTU
# 4096, 1500 gives 1024.
addr() {
  ip link set "$1" mtu "${3:-4200}"
  ip addr add "$2" dev "$1"
  ip link set "$1" up
}

# rxe IFACE: soft RoCE device rxe_IFACE.
rxe() { modprobe rdma_rxe && rdma link add "rxe_$1" type rxe netdev "$1"; }

# loop_rxe IFACE ADDR/LEN [MTU]: an rxe device that talks to itself, on a dummy
# interface ("lo" cannot do it), with user-space verbs.
loop_rxe() {
  modprobe dummy numdummies=0
  ip link add "$1" type dummy
  addr "$1" "$2" "${3:-4200}"
  rxe "$1"
  modprobe ib_uverbs
  modprobe rdma_ucm
}

# rnbd_map SESSION DEVICE PATH...: maps with the kernel client; PATH is DST or
# SRC@DST. Prints the name of the block device. RNBD_PORT: the server's port
# (1234); RNBD_OPTS: access_mode=ro, nr_poll_queues=2, ...
rnbd_map() {
  local session=$1 device=$2 paths='' before x
  shift 2
  for x; do paths+=" path=ip:${x/@/@ip:}"; done
  modprobe rnbd_client || return
  before=" $(cd /sys/block && echo rnbd*) "
  # The port counts only for the paths behind it.
  echo "sessname=$session dest_port=${RNBD_PORT:-1234}$paths device_path=$device ${RNBD_OPTS:-}" \
    > /sys/devices/virtual/rnbd-client/ctl/map_device || return
  for x in /sys/block/rnbd*; do
    [[ $before == *" ${x##*/} "* ]] || echo "${x##*/}"
  done
}

# rnbd_unmap DEVICE [force]
rnbd_unmap() { echo "${2:-normal}" > "/sys/block/$1/rnbd/unmap_device"; }

# outage IFACE on|off: loses all that IFACE sends. Not "ip link set down": an
# rxe device that has to send a CM message meanwhile never receives one again.
outage() {
  modprobe sch_netem
  case $2 in
    on) tc qdisc add dev "$1" root netem loss 100% ;;
    off) tc qdisc del dev "$1" root ;;
  esac
}

# Two guests of "scripts/vm pair" meet in /share: post NAME [TEXT], await NAME.
post() { echo "${2:-ok}" > "/share/.$1" && mv "/share/.$1" "/share/$1"; }
await() {
  local tries=0
  until [[ -e /share/$1 ]]; do
    if ((++tries > ${2:-120} * 5)); then
      echo "await $1: nothing in ${2:-120} s" >&2
      return 1
    fi
    sleep 0.2
  done
  cat "/share/$1"
}
