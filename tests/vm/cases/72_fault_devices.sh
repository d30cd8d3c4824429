# Devices that fail under our server, with both clients: a bad spot, all of it, a full
# file system. Who did not ask gets no error, and other devices go on.
#
# kernel: ^I/O error, dev rnbdN
# kernel: ^critical space allocation error, dev rnbdN
# kernel: ^rtrs_client LN: <errors>: IO request failed: error=-N
# Of the device mapper as it is loaded:
# kernel: ^device-mapper: core: CONFIG_IMA_DISABLE_HTABLE is disabled
. "$here/faults.sh"
ram_disk
cached_disk cache0
cached_disk cache1
modprobe dm-mod
mkdir -p /tmp/exports/full
# bad_disk NAME BELOW: 32 MiB of which the second half fails.
bad_disk() {
  dmsetup create "$1" --noudevsync << TABLE
0 32768 linear $2 0
32768 32768 error
TABLE
  ln -sf "/dev/$(dmsetup info -c --noheadings -o blkdevname "$1")" "/tmp/exports/$1"
}
# all_of NAME TARGET...: all of it is the target from now on.
all_of() {
  dmsetup suspend "$1" --noudevsync
  dmsetup load "$1" --table "0 65536 ${*:2}"
  dmsetup resume "$1" --noudevsync
}
bad_disk bad0 /dev/ram0
bad_disk bad1 /dev/ram1
ln -sf /dev/cache0 /dev/cache1 /tmp/exports/
mount -t tmpfs -o size=1m tmpfs /tmp/exports/full
truncate -s 16M /tmp/exports/full/disk0 /tmp/exports/full/disk1
head -c 1m /dev/zero > /tmp/exports/full/filler || true
our_server --dev_search_path /tmp/exports
# The kernel's client has the disks 0, our plugin the disks 1.
export RNBD_PORT=2345
good=$(rnbd_map errors cache0 "$address0@$address0")
bad=$(rnbd_map errors bad0 "$address0@$address0")
full=$(rnbd_map errors full/disk0 "$address0@$address0")
rm -f /run/rnbd.sock
nbdkit -f -U /run/rnbd.sock "$build/nbdkit-plugin/nbdkit-rnbd-plugin.so" sessname=plugin \
  "path=ip:$address0" dest_port=2345 fabric=verbs 2> /tmp/faults.nbdkit.log &
nbdkit_pid=$!
until_true nbdinfo --size "nbd+unix:///cache1?socket=/run/rnbd.sock"
of_plugin() { echo "nbd+unix:///$1?socket=/run/rnbd.sock"; }
modprobe nbd nbds_max=2
nbd-client -unix /run/rnbd.sock -N cache1 /dev/nbd0
until_true has_size /dev/nbd0
journal_start kernel_to_server "/dev/$good"
journal_start plugin_to_server /dev/nbd0
progress 'before'
steps=(read@0=ok write@8192=ok read@8192=ok flush=ok read@16777216=EIO write@20000768=EIO
  read@8192=ok write@16773120=ok flush=ok)
python3 "$here/errnocheck.py" "/dev/$bad" "${steps[@]}"
python3 "$here/errnocheck.py" "$(of_plugin bad1)" "${steps[@]}"
progress 'half a device fails'
steps=(read@0=ok write@8192=ENOSPC flush=ok read@0=ok)
python3 "$here/errnocheck.py" "/dev/$full" "${steps[@]}"
python3 "$here/errnocheck.py" "$(of_plugin full/disk1)" "${steps[@]}"
# With room it is written again.
rm /tmp/exports/full/filler
steps=(write@8192=ok read@8192=ok flush=ok)
python3 "$here/errnocheck.py" "/dev/$full" "${steps[@]}"
python3 "$here/errnocheck.py" "$(of_plugin full/disk1)" "${steps[@]}"
progress 'a file system is full'
for disk in 0 1; do all_of "bad$disk" error; done
steps=(read@0=EIO write@0=EIO)
python3 "$here/errnocheck.py" "/dev/$bad" "${steps[@]}"
python3 "$here/errnocheck.py" "$(of_plugin bad1)" "${steps[@]}"
progress 'a whole device fails'
for disk in 0 1; do all_of "bad$disk" linear "/dev/ram$disk" 0; done
steps=(write@16777216=ok read@16777216=ok flush=ok)
python3 "$here/errnocheck.py" "/dev/$bad" "${steps[@]}"
python3 "$here/errnocheck.py" "$(of_plugin bad1)" "${steps[@]}"
progress 'it is whole again'
journals_end
nbd-client -d /dev/nbd0
until_true is_free /dev/nbd0
for device in "$good" "$bad" "$full"; do rnbd_unmap "$device"; done
kernel_client_stop
plugin_stop
our_server_stop
umount /tmp/exports/full
rm -r /tmp/exports
# The kernel lets go of what a process had open a moment after its end.
until_true dmsetup remove bad0 --noudevsync
until_true dmsetup remove bad1 --noudevsync
