#!/bin/bash
# A virtual machine whose root file system is on an NBD drive of our plugin:
#
#   guest → virtio-blk → QEMU's NBD client → nbdkit rnbd → rnbd-server → disk.img
#
# Debian's kernel, booted directly, mounts it, writes files, and powers off; they
# are then looked for in the disk image on the server.
#
#   tests/vm-guest/run.sh BUILD_DIR
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib/common.sh
. "$here/../../scripts/lib/common.sh"
# shellcheck source=scripts/lib/services.sh
. "$here/../../scripts/lib/services.sh"

build=$(realpath "${1:?which build directory?}")
lib=$root/scripts/lib
# The kernel of scripts/vm, fetched once and kept.
cache=${VM_CACHE:-${XDG_CACHE_HOME:-/var/cache}/rnbd-nbd-vm}
# shellcheck source=scripts/lib/vm-build.sh
. "$lib/vm-build.sh"
# shellcheck source=scripts/lib/vm-qemu.sh
. "$lib/vm-qemu.sh"

modules='virtio_pci virtio_blk ext4 crc32c_generic'
passed=0 failed=0

if [[ $(dpkg --print-architecture) != amd64 ]]; then
  echo 'skipped: guest: guests are for amd64 only'
  echo '0 passed, 0 failed, 1 skipped'
  exit
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/rnbd-guest.XXXXXX")
qemu_pid=''
clean_up() {
  [[ -z $qemu_pid ]] || kill "$qemu_pid" 2> /dev/null || true
  stop_services
  rm -rf "$work"
}
trap clean_up EXIT

# expect WHAT COMMAND...
expect() {
  local what=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    say "passed: $what"
  else
    failed=$((failed + 1))
    say "FAILED: $what"
  fi
}

said() { grep -aqF "guest: $1" "$work/console.log"; }

make_initramfs() {
  local rd=$work/initramfs module tree=$cache/${kernel:?}/modules
  mkdir -p "$rd"/{bin,dev,proc,modules,root}
  cp "$(command -v busybox)" "$rd/bin/busybox"
  install -m 755 "$here/initramfs-init.sh" "$rd/init"
  # shellcheck disable=SC2086
  for module in $modules; do
    modprobe -d "$tree" -S "$kernel" --show-depends "$module"
  done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
    cp "$module" "$rd/modules/"
    echo "${module##*/}" >> "$rd/modules/order"
  done
  (cd "$rd" && find . | cpio -o -H newc --quiet | gzip -1) > "$work/initrd.gz"
}

make_root_disk() {
  local tree=$work/tree
  mkdir -p "$tree"/{bin,sbin,dev,proc} "$work/exports"
  cp "$(command -v busybox)" "$tree/bin/busybox"
  install -m 755 "$here/root-init.sh" "$tree/sbin/init"
  head -c 3000000 /dev/urandom > "$tree/seed"
  echo 'this file goes' > "$tree/to-be-removed"
  mkfs.ext4 -q -F -d "$tree" "$work/exports/root.img" 64M
}

boot_guest() {
  local tuning='' accelerator=() status=0
  choose_accelerator
  # Under software emulation this takes 10 to 40 seconds.
  timeout 240 qemu-system-x86_64 -machine q35 "${accelerator[@]}" -smp 1 -m 512 \
    -nodefaults -no-user-config -no-reboot -display none -serial "file:$work/console.log" \
    -kernel "$cache/$kernel/vmlinuz" -initrd "$work/initrd.gz" \
    -append "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic $tuning token=$token" \
    -device virtio-rng-pci \
    -drive "file=nbd:unix:$work/disk.sock,format=raw,if=virtio,cache=none,discard=unmap" \
    < /dev/null > "$work/qemu.log" 2>&1 &
  qemu_pid=$!
  wait "$qemu_pid" || status=$?
  qemu_pid=''
  sed 's/^/      /' "$work/console.log"
  return $status
}

find_on_the_server() {
  local image=$work/exports/root.img file
  for file in written/token written/data to-be-removed; do
    debugfs -R "dump /$file $work/${file##*/}" "$image" > /dev/null 2>&1 || true
  done
  expect "the guest's small file is on the server" grep -qx "$token" "$work/token"
  expect "the guest's large file is on the server" \
    said "sha256 $(sha256sum "$work/data" | cut -d' ' -f1)"
  expect 'the file that the guest removed is gone' test ! -s "$work/to-be-removed"
  expect "the server's disk is clean" fsck_clean "$image"
}

fsck_clean() {
  e2fsck -fn "$1" > "$work/e2fsck.log" 2>&1 || {
    cat "$work/e2fsck.log"
    return 1
  }
}

say 'kernel and initramfs'
setup
make_initramfs
make_root_disk
token=$(unique_name token)

say 'rnbd-server and nbdkit'
start_server "$work/server.log" "$work/exports" 127.0.0.1
start_nbdkit "$work/nbdkit.log" "$work/disk.sock" "sessname=$(unique_name guest)" \
  path=ip:127.0.0.1 "dest_port=$server_port" device_path=root.img

say 'booting'
expect 'the guest powers off by itself' boot_guest
expect 'its root file system is on the NBD drive' said 'root is /dev/vda ext4'
expect 'it reads what was on the disk' \
  said "seed $(sha256sum "$work/tree/seed" | cut -d' ' -f1)"
expect 'it came to its end' said 'done'
expect 'its kernel log has no error' bash -c "! grep -aq '^guest log: ' '$work/console.log'"
stop_services
find_on_the_server

if ((failed > 0)); then tail -n 40 "$work"/*.log; fi
echo "$passed passed, $failed failed, 0 skipped"
((failed == 0))
