# shellcheck shell=bash
# Starting guests: the accelerator, the QEMU command line, waiting for the end.
# Sourced by scripts/vm, whose variables say what to boot: kernel, name, cpus,
# mem, limit, args, nics, share, disk and dir, which is /lab in the guest.
# shellcheck disable=SC2154
: "${cache:?}" "${lib:?}"

# KVM where a guest really runs under it: some machines have a /dev/kvm that
# opens, makes a virtual machine and then never gets anywhere. Found out once
# per boot of this machine and kernel, by the setup, one at a time. Sets the
# array `accelerator` and `tuning`.
choose_accelerator() {
  tuning=''
  local choice=${VM_ACCEL:-} note
  note=$cache/accel.$(< /proc/sys/kernel/random/boot_id).$kernel
  if [[ -z $choice && -e $note ]]; then
    choice=$(< "$note")
  elif [[ -z $choice ]]; then
    choice=tcg
    if [[ -w /dev/kvm ]] && probe_kvm; then choice=kvm; fi
    rm -f "$cache"/accel.*
    echo "$choice" > "$note"
    echo "vm: guests run with $choice" >&2
  fi
  case $choice in
    kvm) accelerator=(-accel kvm -cpu host) ;;
    # -pclmulqdq: carry-less multiplication is slower than a table when it is
    # emulated, in the kernel's CRCs and in ours. no_timer_check: on a busy
    # machine the check that the timer ticks fails, and the guest panics.
    # tsc=reliable: the kernel would distrust it and use the slow hpet.
    tcg)
      accelerator=(-accel "tcg,thread=multi,tb-size=512" -cpu "max,-pclmulqdq")
      tuning='tsc=reliable no_timer_check'
      ;;
    *) die "VM_ACCEL=$choice: use kvm or tcg" ;;
  esac
}

probe_kvm() {
  local log=$cache/probe.log
  # In a shell of its own, which keeps the message about an abort to itself.
  (timeout -k 2 15 qemu-system-x86_64 -machine q35 -accel kvm -cpu host -m 512 \
    -nodefaults -no-user-config -no-reboot -display none -serial "file:$log" \
    -kernel "$cache/$kernel/vmlinuz" -initrd "$cache/$kernel/initrd.gz" \
    -append 'console=ttyS0 panic=-1 vm_probe' < /dev/null; true) > /dev/null 2>&1
  grep -q 'vm probe: alive' "$log"
}

# Fills `qemu` with the command line of a guest whose /lab is $dir.
# $1: the serial console.
qemu_command() {
  local i tag boot=$cache/$kernel
  qemu=(qemu-system-x86_64 -machine q35 "${accelerator[@]}" -smp "$cpus" -m "$mem"
    -nodefaults -no-user-config -display none -serial "$1"
    -kernel "$boot/vmlinuz" -initrd "$boot/initrd.gz"
    -append "console=ttyS0 quiet loglevel=4 oops=panic panic=-1 mitigations=off
 audit=0 net.ifnames=0 $tuning $args"
    -device virtio-rng-pci
    -virtfs 'local,path=/,mount_tag=hostroot,security_model=none,readonly=on,multidevs=remap'
    -virtfs "local,path=$boot/modules/lib/modules,mount_tag=modules,security_model=none,readonly=on"
    -virtfs "local,path=$dir,mount_tag=lab,security_model=none")
  if [[ -n $share ]]; then
    qemu+=(-virtfs "local,path=$share,mount_tag=share,security_model=none")
    touch "$dir/shared"
  fi
  if [[ -z $disk ]]; then
    qemu+=(-no-reboot)
  else
    rm -f "$dir/disk"
    truncate -s "${disk}M" "$dir/disk"
    qemu+=(-drive "file=$dir/disk,format=raw,if=virtio,cache=writeback")
  fi
  tag=$(md5sum <<< "$name" | cut -c1-2)
  for ((i = 0; i < ${#nics[@]}; i++)); do
    qemu+=(-netdev "${nics[i]},id=n$i"
      -device "virtio-net-pci,netdev=n$i,mac=52:54:00:$tag:00:0$i,romfile=")
    [[ -z ${VM_PCAP:-} ]] || qemu+=(-object "filter-dump,id=f$i,netdev=n$i,file=$dir/nic$i.pcap")
  done
  echo "$name" > "$dir/name"
  cp "$lib/vm-guest.sh" "$dir/lib.sh"
  install -m 755 "$lib/vm-init.sh" "$dir/init"
}

# Boots, shows what the guest writes while it writes it, returns its exit code.
boot() {
  local rc=0 pid
  rm -f "$dir"/{rc,out.log,dmesg.log,console.log,qemu.log,interactive,shared}
  : > "$dir/out.log"
  qemu_command "file:$dir/console.log"
  timeout -k 5 "$limit" "${qemu[@]}" < /dev/null > "$dir/qemu.log" 2>&1 &
  pid=$!
  # An interrupt here must not leave the guest behind.
  # shellcheck disable=SC2064
  trap "kill $pid 2> /dev/null || true; exit 130" INT TERM
  tail -n +1 -s 0.2 -f --pid="$pid" "$dir/out.log" &
  wait "$pid" || rc=$?
  wait $! || true
  trap - INT TERM
  if [[ -e $dir/rc ]]; then return "$(< "$dir/rc")"; fi
  echo "scripts/vm: guest $name ended without a result (QEMU's exit code $rc; 124: $limit s were over)" >&2
  tail -n 40 "$dir/qemu.log" "$dir/console.log" >&2
  return 124
}

boot_shell() {
  rm -f "$dir"/{rc,out.log,dmesg.log}
  touch "$dir/interactive"
  qemu_command mon:stdio
  "${qemu[@]}"
}
