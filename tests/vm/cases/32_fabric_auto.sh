# fabric=auto at an address that has an RDMA device: RDMA if the server answers
# there; softiwarp, after saying why, if it answers by TCP only.
cached_disk cache0
mkdir -p /tmp/exports
ln -sf /dev/cache0 /tmp/exports/
our_server --dev_search_path /tmp/exports
AT='-v -U /run/rnbd.sock' FABRIC=auto plugin 2345 cache0 2> /tmp/nbdkit.log
qemu-io -f raw -c 'write -P 7 0 1M' -c 'read -P 7 0 1M' "$nbd_uri"
plugin_stop
our_server_stop
grep -F 'session vm: runs over verbs, RDMA device rxe_d0' /tmp/nbdkit.log || fail "$(< /tmp/nbdkit.log)"
capture_start lo 'tcp port 2345'
OVER=softiwarp our_server --dev_search_path /tmp/exports
AT='-v -U /run/rnbd.sock' FABRIC=auto plugin 2345 cache0 2> /tmp/nbdkit.log
qemu-io -f raw -c 'write -P 8 0 1M' -c 'read -P 8 0 1M' "$nbd_uri"
plugin_stop
our_server_stop
grep -E 'session vm: not over verbs' /tmp/nbdkit.log || fail "$(< /tmp/nbdkit.log)"
grep -F 'session vm: runs over softiwarp' /tmp/nbdkit.log || fail "$(< /tmp/nbdkit.log)"
capture_check
# Nobody there: the error names what was tried.
if timeout 120 nbdkit -f -U /run/none.sock \
  "$build/nbdkit-plugin/nbdkit-rnbd-plugin.so" sessname=vm "path=ip:$address0" \
  dest_port=2345 fabric=auto device_path=cache0 2> /tmp/nbdkit.log; then
  fail 'started without a server'
fi
grep -E 'over verbs.*over softiwarp' /tmp/nbdkit.log || fail "$(< /tmp/nbdkit.log)"
