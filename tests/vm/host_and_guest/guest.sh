# The guest of host.sh, on eth0: the kernel's client of our server on the machine
# outside, then the kernel's server of our plugin there.
. "$VM_SOURCE/tests/vm/start.sh"
host=198.18.6.1 guest=198.18.6.2
soft_roce "$guest"
until_true grep -qh 'ffff:c612:0602' /sys/class/infiniband/rxe_eth0/ports/1/gids/*
until_true ping -c 1 -W 1 "$host"
block=$(RNBD_PORT=2345 rnbd_map host disk "$guest@$host")
python3 "$here/blockcheck.py" "/dev/$block"
fio_verify "/dev/$block" --size=4m
# What the host compares with what its disk holds.
dd if=/dev/urandom of=/lab/pattern bs=64k count=16 status=none
dd if=/lab/pattern "of=/dev/$block" bs=64k seek=64 oflag=direct status=none
blockdev --flushbufs "/dev/$block"
rnbd_unmap "$block"
kernel_client_stop
ram_disk
kernel_server always_invalidate=Y
touch /lab/kernel-server
until_true_within 900 test -e /lab/host-done
kernel_server_stop
! dmesg --level=emerg,alert,crit,err | grep .
