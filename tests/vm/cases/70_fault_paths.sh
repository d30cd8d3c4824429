# Paths that go and come back under load: our plugin and the kernel's client at our
# server, our plugin at the kernel's server. First one path is cut, then the other,
# then both for a minute.
# limit: 1800
#
# What the modules report of lost connections and of what goes with them depends on
# what was under way:
# kernel: ^(rtrs|rnbd)_(core|client|server) LN: 
# kernel: ^I/O error, dev rnbdN
# kernel: ^blk_print_req_error: N callbacks suppressed$
# A flush that tells of writes that may be lost, and a write that waited for it:
# kernel: ^block nbdN: Other side returned error \(N\)$
# kernel: ^I/O error, dev nbdN
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
