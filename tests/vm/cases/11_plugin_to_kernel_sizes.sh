# Our plugin, the kernel's server without fresh rkeys, and with other queue
# depths and chunk sizes than the default.
#
# Soft RoCE may send again what is not late, and fails over that while the server
# registers memory. The plugin makes it rare, and goes on over new connections:
# kernel: ^rdma_rxe: rxe_reg_fast_mr: mr->lkey = N not free$
# kernel: ^rtrs_server LN: <[^>]*>: .*(REG MR failed|WR flushed|session is disconnected)
cached_disk cache0
for parameters in 'always_invalidate=N' \
  'always_invalidate=N sess_queue_depth=64 max_chunk_size=65536' \
  'always_invalidate=Y sess_queue_depth=100 max_chunk_size=16384' \
  'always_invalidate=Y sess_queue_depth=16 max_chunk_size=262144'; do
  echo "== $parameters"
  # shellcheck disable=SC2086
  kernel_server $parameters
  plugin 1234 /dev/cache0
  nbd_attach -C 2
  exercise /dev/nbd0 /dev/cache0
  nbd_detach
  plugin_stop
  kernel_server_stop
done
