# Paths that go and come back under load: our plugin and the kernel's client at our
# server, our plugin at the kernel's server. First one path is cut, then the other,
# then both for a minute.
# limit: 1800
#
# The kernel's client gives up requests when no path is left, and says what it
# loses with each:
# kernel: ^I/O error, dev rnbdN
# kernel: ^blk_print_req_error: N callbacks suppressed$
# kernel: ^rnbd_client LN: <cacheN@kernel> (Device disconnected|RTRS failed to transfer IO)
# kernel: ^rtrs_client LN: <kernel>: CM error \(CM event: timewait exit
# kernel: ^rtrs_client LN: <kernel>: Failed IB_WR_(REG_MR|LOCAL_INV): WR flushed$
# kernel: ^rtrs_client LN: <kernel>: IO request failed: error=-N
# kernel: ^rtrs_core LN: <(faults|kernel)>: HB missed max reached
# A flush that tells of writes that may be lost:
# kernel: ^block nbdN: Other side returned error \(N\)$
. "$here/faults.sh"
# Soft RoCE ends connections that lose packets otherwise, see wire_up.
pairings_up always_invalidate=N
for path in 0 1; do
  cut "$path"
  progress "path $path cut"
  all_down "$path"
  mend "$path"
  all_up "$path"
  progress "path $path mended"
done
cut 0
cut 1
sleep 60
mend 1
mend 0
for path in 1 0; do all_up "$path"; done
progress 'both paths cut for 60 s'
pairings_down
