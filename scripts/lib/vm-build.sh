# shellcheck shell=bash
# What scripts/vm boots: Debian's kernel image, its rtrs and rnbd modules built
# from Debian's linux-source, and an initramfs. All of it lands in $cache and is
# built again when the package lists offer another kernel. Sourced by scripts/vm.
: "${cache:?}" "${lib:?}"

vm_packages=(
  qemu-system-x86 busybox-static kmod cpio xz-utils make gcc e2fsprogs xfsprogs
  dmsetup fdisk fio iproute2 nftables procps util-linux rdma-core rdmacm-utils ibverbs-utils
  ibverbs-providers nbd-client nvme-cli qemu-utils python3 tcpdump
)

apt_get() {
  local log=$cache/apt.log
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq "$@" > "$log" 2>&1 || {
    cat "$log" >&2
    die "apt-get $1 failed"
  }
}

# Does nothing when everything is there. Two at once take turns.
setup() {
  [[ $(dpkg --print-architecture) == amd64 ]] || die 'guests are for amd64 only'
  mkdir -p "$cache"
  exec {setup_lock}> "$cache/lock"
  flock -w 900 "$setup_lock" || die "another setup holds $cache/lock for 15 minutes"
  if [[ -z ${NO_APT:-} ]] && ! dpkg -s "${vm_packages[@]}" > /dev/null 2>&1; then
    echo 'vm: installing packages' >&2
    apt_get update
    apt_get install -y --no-install-recommends "${vm_packages[@]}"
  fi
  find_kernel
  if [[ ! -e $cache/$kernel/complete ]]; then
    echo "vm: building modules and initramfs for $kernel $kernel_version, about a minute" >&2
    rm -rf "${cache:?}/$kernel"
    mkdir -p "$cache/$kernel"
    fetch_kernel
    build_modules
    build_initramfs
    echo "$kernel_version" > "$cache/$kernel/complete"
  fi
  choose_accelerator
  exec {setup_lock}>&-
}

# kernel: "6.1.0-56-amd64"; kernel_version: its package version.
find_kernel() {
  local complete
  # Without package lists, or told to install nothing: what was built before.
  find_candidate
  if [[ -n ${NO_APT:-} || -z $kernel ]]; then
    for complete in "$cache"/*/complete; do
      [[ -e $complete ]] || break
      kernel=$(basename "$(dirname "$complete")")
      kernel_version=$(< "$complete")
    done
  elif [[ ! -e $cache/$kernel/complete ]]; then
    # The lists may name a kernel that the archive has replaced meanwhile.
    apt_get update
    find_candidate
  fi
  [[ -n $kernel ]] || die 'apt knows no linux-image-amd64 and nothing was built before'
}

find_candidate() {
  local image
  kernel='' kernel_version=''
  image=$(apt-cache depends linux-image-amd64 2> /dev/null |
    sed -n 's/^ *Depends: *\(linux-image-[0-9].*-amd64\)$/\1/p' | head -n 1)
  [[ -n $image ]] || return 0
  kernel=${image#linux-image-}
  kernel_version=$(apt-cache policy "$image" | sed -n 's/^ *Candidate: *//p')
}

# Image, headers and source of one version. The image is only unpacked:
# installing it would run boot loader hooks of this machine.
fetch_kernel() {
  local tree=$cache/$kernel image=linux-image-$kernel
  apt_get install -y --no-install-recommends "linux-headers-$kernel=$kernel_version" \
    "linux-source-${kernel%%.*}.$(cut -d. -f2 <<< "$kernel")=$kernel_version"
  mkdir -p "$tree"/{deb,image,modules/lib}
  (cd "$tree/deb" && apt-get -qq -o APT::Sandbox::User=root download "$image=$kernel_version")
  dpkg-deb -x "$tree"/deb/*.deb "$tree/image"
  mv "$tree/image/lib/modules" "$tree/modules/lib/modules"
  cp "$tree/image/boot/vmlinuz-$kernel" "$tree/vmlinuz"
  rm -rf "$tree"/{deb,image}
}

# Debian leaves RTRS and RNBD out of its configuration.
build_modules() {
  local tree=$cache/$kernel headers=/usr/src/linux-headers-$kernel rtrs rnbd source
  source=/usr/src/linux-source-${kernel%%.*}.$(cut -d. -f2 <<< "$kernel").tar.xz
  mkdir -p "$tree/src"
  tar -C "$tree/src" --strip-components=1 --wildcards -xf "$source" \
    '*/drivers/block/rnbd' '*/drivers/infiniband/ulp/rtrs'
  rtrs=$tree/src/drivers/infiniband/ulp/rtrs
  rnbd=$tree/src/drivers/block/rnbd
  {
    make -s -j"$(nproc)" -C "$headers" M="$rtrs" modules CONFIG_INFINIBAND_RTRS=m \
      CONFIG_INFINIBAND_RTRS_CLIENT=m CONFIG_INFINIBAND_RTRS_SERVER=m &&
      # rnbd's Makefile looks for rtrs.h in a whole kernel tree: KCFLAGS names ours.
      make -s -j"$(nproc)" -C "$headers" M="$rnbd" modules KCFLAGS="-I$rtrs" \
        CONFIG_BLK_DEV_RNBD=y CONFIG_BLK_DEV_RNBD_CLIENT=m CONFIG_BLK_DEV_RNBD_SERVER=m \
        KBUILD_EXTRA_SYMBOLS="$rtrs/Module.symvers"
  } > "$tree/build.log" 2>&1 || {
    cat "$tree/build.log" >&2
    die 'building the kernel modules failed'
  }
  local updates=$tree/modules/lib/modules/$kernel/updates
  mkdir -p "$updates"
  cp "$rtrs"/*.ko "$rnbd"/*.ko "$updates"
  strip --strip-debug "$updates"/*.ko
  depmod -b "$tree/modules" "$kernel"
  rm -rf "$tree/src"
}

# Busybox and the modules that mount the shares; the rest comes from there.
build_initramfs() {
  local tree=$cache/$kernel rd module
  rd=$tree/initramfs
  mkdir -p "$rd"/{bin,dev,proc,sys,modules,ro,rw,new}
  cp "$(command -v busybox)" "$rd/bin/busybox"
  for module in virtio_pci virtio_net 9pnet_virtio 9p overlay; do
    modprobe -d "$tree/modules" -S "$kernel" --show-depends "$module"
  done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
    cp "$module" "$rd/modules/"
    echo "${module##*/}" >> "$rd/modules/order"
  done
  cp "$lib/vm-initramfs.sh" "$rd/init"
  chmod +x "$rd/init"
  (cd "$rd" && find . | cpio -o -H newc --quiet | gzip -1) > "$tree/initrd.gz"
  rm -rf "$rd"
}
