# shellcheck shell=bash
# For the cases of tests/vm: starting both kinds of client and server, and
# putting a block device through its paces. Sourced with $here and $build set.
: "${here:?}" "${build:?}" "${address0:?}" "${address1:?}"

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# until_true COMMAND...: waits for what comes soon. The limit is against hangs
# only: on a busy machine a guest gets little of its processors.
until_true() { until_true_within 180 "$@"; }
# until_true_within SECONDS COMMAND...
until_true_within() {
  local limit=$((SECONDS + $1))
  shift
  until "$@" > /dev/null 2>&1; do
    ((SECONDS < limit)) || fail "waited too long for: $*"
    sleep 0.2
  done
}

# ram_disk: /dev/ram0, 64 MiB, without write cache.
ram_disk() {
  [[ -e /dev/ram0 ]] || modprobe brd rd_nr=2 rd_size=65536
}

# cached_disk NAME: /dev/NAME, 64 MiB, with write cache, FUA and discard.
cached_disk() {
  local dir=/sys/kernel/config/nullb/$1
  [[ ! -e $dir ]] || return 0
  modprobe null_blk nr_devices=0
  mkdir "$dir"
  echo 64 > "$dir/size"
  echo 512 > "$dir/blocksize"
  echo 1 > "$dir/memory_backed"
  echo 1 > "$dir/discard"
  echo 16 > "$dir/cache_size"
  echo 1 > "$dir/power"
}

# kernel_server [PARAMETER=VALUE...]: of rtrs_server. Listens on port 1234.
kernel_server() {
  kernel_server_stop
  modprobe rtrs_server "$@"
  modprobe rnbd_server
}
kernel_server_stop() {
  ! lsmod | grep -q '^rnbd_server' || rmmod rnbd_server
  ! lsmod | grep -q '^rtrs_server' || rmmod rtrs_server
}
kernel_client_stop() {
  ! lsmod | grep -q '^rnbd_client' || rmmod rnbd_client
  ! lsmod | grep -q '^rtrs_client' || rmmod rtrs_client
}

# our_server ARGUMENT...: rnbd-server on port 2345, in $server_pid. OVER: its
# fabric (verbs). ADDRESSES: where it listens, both of network.sh.
our_server() {
  local address listen=()
  for address in ${ADDRESSES:-$address0 $address1}; do listen+=(--listen "$address"); done
  "$build/server/rnbd-server" --fabric "${OVER:-verbs}" "${listen[@]}" \
    --port_nr 2345 "$@" &
  server_pid=$!
  if [[ ${OVER:-verbs} == verbs ]]; then
    until_true rdma_listens 2345
  else
    until_true tcp_listens 2345
  fi
}
our_server_stop() {
  kill "$server_pid"
  wait "$server_pid"
}
tcp_listens() { [[ -n $(ss -Htln "sport = :$1") ]]; }
rdma_listens() { rdma resource show cm_id | grep -q "LISTEN.*:$1 "; }

# plugin PORT DEVICE [PARAMETER=VALUE...]: nbdkit with our plugin, in
# $nbdkit_pid. AT: where it serves, nbdkit options ("-U /run/rnbd.sock", which is
# $nbd_uri). TO: the path (one to address0). FABRIC: verbs.
nbd_uri="nbd+unix:///?socket=/run/rnbd.sock"
plugin() {
  local port=$1 device=$2
  shift 2
  rm -f /run/rnbd.sock
  # shellcheck disable=SC2086
  nbdkit -f ${AT:--U /run/rnbd.sock} "$build/nbdkit-plugin/nbdkit-rnbd-plugin.so" \
    sessname=vm "path=ip:${TO:-$address0}" "dest_port=$port" \
    "fabric=${FABRIC:-verbs}" "device_path=$device" "$@" &
  nbdkit_pid=$!
  until_true nbdinfo --size "$nbd_uri"
}
plugin_stop() {
  kill "$nbdkit_pid"
  wait "$nbdkit_pid"
}

# nbd_attach [OPTION...]: /dev/nbd0 on /run/rnbd.sock.
nbd_attach() {
  modprobe nbd nbds_max=2
  nbd-client -unix /run/rnbd.sock /dev/nbd0 "$@"
  until_true nbd_has_size
}
nbd_has_size() { (($(blockdev --getsize64 /dev/nbd0) > 0)); }
nbd_detach() {
  nbd-client -d /dev/nbd0
  until_true nbd_is_free
}
nbd_is_free() { ! nbd-client -c /dev/nbd0; }

# capture_start INTERFACE FILTER: all that passes there, until capture_check, into
# $capture, which is in the guest's memory: a slow file would lose packets.
capture=/tmp/capture.pcap
capture_start() {
  tcpdump -i "$1" -w "$capture" -B 131072 -s 0 "$2" 2> /tmp/tcpdump.log &
  capture_pid=$!
  until_true grep -q 'listening on' /tmp/tcpdump.log
}
# capture_check: everything was captured, and all of it is as the protocol says.
capture_check() {
  kill -INT "$capture_pid"
  wait "$capture_pid" || true
  grep -q '^0 packets dropped by kernel' /tmp/tcpdump.log ||
    fail "$(tail -n 3 /tmp/tcpdump.log)"
  "$build/tests/pcap/rtrs_pcap" "$capture"
}

# fio_verify DEVICE OPTION...: random writes of all sizes, then compared.
fio_verify() {
  # In the guest's memory: fio leaves its state where it runs.
  (cd /tmp && fio --name=verify --filename="$1" --direct=1 --ioengine=libaio \
    --rw=randwrite --bsrange=512-126976 --blockalign=512 --iodepth=16 \
    --verify=crc32c --verify_fatal=1 --output-format=terse "${@:2}" > /dev/null)
}

# exercise DEVICE BACKING: data of all sizes, flush, FUA, discard, zeroes; fio
# with verify; the backing device holds the same afterwards.
exercise() {
  python3 "$here/blockcheck.py" "$1"
  fio_verify "$1" --size=4m
  blockdev --flushbufs "$1"
  [[ ! -b $2 ]] || blockdev --flushbufs "$2"
  cmp -n 8388608 "$1" "$2"
}

# filesystem DEVICE [TYPE]: make, mount, write, unmount, check, read again.
filesystem() {
  local type=${2:-ext4} options=(-q -F)
  [[ $type != xfs ]] || options=(-q -f)
  "mkfs.$type" "${options[@]}" "$1"
  mkdir -p /mnt/vm
  mount -t "$type" "$1" /mnt/vm
  cp -r "$here" /mnt/vm/
  dd if=/dev/urandom of=/mnt/vm/data bs=64k count=64 conv=fsync status=none
  (cd /mnt/vm && find . -type f -exec sha256sum {} + > /tmp/sums)
  umount /mnt/vm
  case $type in
    ext4) fsck.ext4 -fn "$1" ;;
    xfs) xfs_repair -n "$1" ;;
  esac
  mount -t "$type" -o ro "$1" /mnt/vm
  (cd /mnt/vm && sha256sum --quiet -c /tmp/sums)
  umount /mnt/vm
}

# A cable from a soft RoCE device to a network namespace that has none, for
# fabric=softroce: cable0 is the kernel's end, cable1 the end in "cable".
cable0=198.18.5.1 cable1=198.18.5.2
cable0_6=fd12:5::1 cable1_6=fd12:5::2

# cable_up MTU
cable_up() {
  cable_down
  modprobe veth
  ip netns add cable
  ip link add vc0 type veth peer name vc1 netns cable
  ip addr add "$cable0/24" dev vc0
  ip addr add "$cable0_6/64" dev vc0 nodad
  ip -n cable addr add "$cable1/24" dev vc1
  ip -n cable addr add "$cable1_6/64" dev vc1 nodad
  cable_mtu "$1"
  ip link set vc0 up
  ip -n cable link set vc1 up
  ip -n cable link set lo up
  rxe vc0
  # The device learns its addresses a little later.
  until_true cable_has_gid 'ffff:c612:0501'
  until_true cable_has_gid '^fd12:0005:'
  until_true ping -c 1 -W 1 "$cable1"
  until_true ping -c 1 -W 1 "$cable1_6"
}
cable_has_gid() { grep -qh "$1" /sys/class/infiniband/rxe_vc0/ports/1/gids/*; }
cable_mtu() {
  ip link set vc0 mtu "$1"
  ip -n cable link set vc1 mtu "$1"
}
# cable_faults NETEM_OPTION...: both ways, instead of those before.
cable_faults() {
  modprobe sch_netem
  tc qdisc replace dev vc0 root netem "$@"
  ip netns exec cable tc qdisc replace dev vc1 root netem "$@"
}
cable_faults_off() {
  tc qdisc del dev vc0 root
  ip netns exec cable tc qdisc del dev vc1 root
}
cable_down() {
  [[ ! -e /sys/class/infiniband/rxe_vc0 ]] || rdma link del rxe_vc0
  [[ ! -e /sys/class/net/vc0 ]] || ip link del vc0
  [[ ! -e /run/netns/cable ]] || ip netns del cable
}

# show_if_failed FILE: when the case fails, its log ends with that of FILE.
show_if_failed() {
  # shellcheck disable=SC2064
  trap "(( \$? == 0 )) || tail -n 40 '$1' >&2" EXIT
}

# softroce_server [ARGUMENT...]: rnbd-server on port 2345 in the namespace, in
# $server_pid; its log is /tmp/softroce-server.
softroce_server() {
  show_if_failed /tmp/softroce-server
  ip netns exec cable "$build/server/rnbd-server" --fabric softroce \
    --listen "$cable1" --listen "$cable1_6" --port_nr 2345 \
    --dev_search_path /tmp/exports "$@" > /tmp/softroce-server 2>&1 &
  server_pid=$!
  until_true grep '^listening on' /tmp/softroce-server
}

# softroce_plugin ADDRESS PORT DEVICE: as plugin, in the namespace.
softroce_plugin() {
  rm -f /run/rnbd.sock
  show_if_failed /tmp/softroce-plugin
  ip netns exec cable nbdkit -v -f -U /run/rnbd.sock \
    "$build/nbdkit-plugin/nbdkit-rnbd-plugin.so" sessname=vm "path=ip:$1" \
    "dest_port=$2" fabric=softroce "device_path=$3" 2> /tmp/softroce-plugin &
  nbdkit_pid=$!
  until_true nbdinfo --size "$nbd_uri"
}
