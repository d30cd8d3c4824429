#!/bin/bash
# A kernel in a guest, our programs on this machine beside it: RoCEv2 over a tap
# device in a network namespace of its own, in both roles.
#
#   host.sh BUILD OUT      OUT: where the guest leaves its files
#
# Exit code 77: this machine has no tap devices or namespaces.
set -euo pipefail
build=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib/common.sh
. "$here/../../../scripts/lib/common.sh"
host=198.18.6.1 guest=198.18.6.2
namespace=$(unique_name rnbd-vm)
[[ -c /dev/net/tun ]] || {
  echo 'skipped: no /dev/net/tun on this machine'
  exit 77
}
ip netns add "$namespace" || {
  echo 'skipped: no network namespace can be made here (root, CAP_SYS_ADMIN)'
  exit 77
}
work=$(mktemp -d "${TMPDIR:-/tmp}/rnbd-host.XXXXXX")
pids=()
clean_up() {
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2> /dev/null || true; done
  wait
  ip netns del "$namespace"
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
# Programs in the background are started without a function around them, so that
# $! is theirs.
inside=(ip netns exec "$namespace")

ip -n "$namespace" link set lo up
ip -n "$namespace" tuntap add dev tap0 mode tap || {
  echo 'skipped: no tap device can be made here'
  exit 77
}
ip -n "$namespace" link set tap0 mtu 4200 up
ip -n "$namespace" addr add "$host/24" dev tap0

mkdir "$work/disks"
truncate -s 64M "$work/disks/disk"
"${inside[@]}" "$build/server/rnbd-server" --fabric softroce --listen "$host" \
  --port_nr 2345 --dev_search_path "$work/disks" > "$work/server.log" 2>&1 &
server_pid=$!
pids+=("$server_pid")
rm -f "$out"/{kernel-server,host-done}
"${inside[@]}" "$root/scripts/vm" run -n host -t 1500 -o "$out" -P "$build" \
  -N tap,ifname=tap0,script=no,downscript=no "$here/guest.sh" &
vm_pid=$!
pids+=("$vm_pid")

# until_there FILE: made by the guest, for as long as that runs.
until_there() {
  until [[ -e $1 ]]; do
    kill -0 "$vm_pid" 2> /dev/null || {
      echo "the guest ended before it made ${1##*/}"
      tail -n 30 "$work/server.log"
      exit 1
    }
    sleep 0.2
  done
}
until_there "$out/kernel-server"
cmp -n 1048576 "$out/pattern" "$work/disks/disk" 0 4194304
kill "$server_pid"
wait "$server_pid"

# $uri is nbdkit's.
"${inside[@]}" nbdkit -U - "$build/nbdkit-plugin/nbdkit-rnbd-plugin.so" \
  sessname=host "path=ip:$guest" dest_port=1234 fabric=softroce \
  device_path=/dev/ram0 --run "cd '$work' && fio --name=verify --ioengine=nbd \
    --uri=\"\$uri\" --rw=randwrite --bsrange=512-126976 --blockalign=512 \
    --iodepth=16 --size=4m --verify=crc32c --verify_fatal=1 \
    --output-format=terse > /dev/null"
touch "$out/host-done"
wait "$vm_pid"
