# shellcheck shell=bash
# Debian packages, by what they are for, and their installation. Sourced.
# shellcheck disable=SC2034

# To build and to run the demo and the benchmark.
packages_demo="
  ca-certificates ccache e2fsprogs fio g++ libabsl-dev libcli11-dev libfmt-dev
  libibverbs-dev libisal-dev libnbd-bin libnbd-dev librdmacm-dev libspdlog-dev
  libsystemd-dev liburing-dev meson nbd-client nbdkit nbdkit-plugin-dev
  ninja-build nlohmann-json3-dev perl pkg-config procps python3 python3-libnbd
  qemu-utils"

# What the tests need on top of that; llvm-16 has the names for sanitizers'
# reports and suppressions.
packages_test="
  $packages_demo
  busybox-static clang-16 clang-format-14 cpio iproute2 iputils-ping kmod
  libclang-rt-16-dev libgmock-dev libgtest-dev lld-16 llvm-16 nftables qemu-system-x86
  rdmacm-utils shellcheck tcpdump tshark xz-utils"

package_missing() {
  local state
  state=$(dpkg-query -W -f='${db:Status-Status}' "$1" 2> /dev/null) || return 0
  [[ $state != installed ]]
}

apt_get() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 \
    -o Acquire::Retries=3 "$@" < /dev/null
}

# A package list that has never been fetched, or does not know a package, is old.
package_lists_old() {
  local package
  for package in "$@"; do
    apt-cache show "$package" > /dev/null 2>&1 || return 0
  done
  return 1
}

apt_install() {
  apt_get install -y --no-install-recommends "$@" > "$apt_log" 2>&1
}

# install_packages NAME...: installs those that are missing. Only one run of
# these scripts on a machine is in here at a time.
install_packages() {
  local missing=() package lock apt_log
  for package in "$@"; do
    if package_missing "$package"; then missing+=("$package"); fi
  done
  if ((${#missing[@]} == 0)); then
    say "all $# packages are there"
    return
  fi
  have apt-get || die "this is no Debian: install yourself what corresponds to ${missing[*]}"
  ((EUID == 0)) || die "packages are missing; run as root: apt-get install ${missing[*]}"

  mkdir -p /run/lock
  exec {lock}> /run/lock/rnbd-nbd-packages
  flock -n "$lock" || {
    say "another run is installing packages: waiting for it"
    flock "$lock"
  }
  apt_log=$(mktemp)
  if package_lists_old "${missing[@]}"; then
    say "apt-get update"
    apt_get update > "$apt_log" 2>&1 || say "apt-get update: $(tail -n 1 "$apt_log")"
  fi
  say "apt-get install ${missing[*]}"
  if ! apt_install "${missing[@]}"; then
    say "that failed; once more with fresh package lists"
    apt_get update > "$apt_log" 2>&1 || say "apt-get update: $(tail -n 1 "$apt_log")"
    apt_install "${missing[@]}" || {
      cat "$apt_log" >&2
      die "apt-get install failed, see above"
    }
  fi
  rm -f "$apt_log"
  exec {lock}>&-
}
