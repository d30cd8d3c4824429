# Our plugin behind /dev/nbd0, the kernel's server; a fresh rkey with each answer
# (always_invalidate=Y, the kernel's default).
#
# Soft RoCE may send again what is not late, and fails over that while the server
# registers memory. The plugin makes it rare, and goes on over new connections:
# kernel: ^rdma_rxe: rxe_reg_fast_mr: mr->lkey = N not free$
# kernel: ^rtrs_server LN: <[^>]*>: .*(REG MR failed|WR flushed|session is disconnected)
ram_disk
cached_disk cache0
kernel_server always_invalidate=Y
for disk in ram0 cache0; do
  plugin 1234 "/dev/$disk"
  nbd_attach -C 2
  exercise /dev/nbd0 "/dev/$disk"
  filesystem /dev/nbd0
  nbd_detach
  plugin_stop
done
kernel_server_stop
