# Our plugin in a network namespace without an RDMA device, RoCEv2 inside its
# process, and the kernel's server on soft RoCE at the other end of a cable.
#
# Nothing is lost here, but a guest that gets too little time sends things again,
# and soft RoCE fails over that as in 53_kernel_to_softroce_lost while the server
# registers memory (always_invalidate=Y). The plugin goes on over new connections;
# /dev/nbd complains meanwhile. The messages of that:
# kernel: ^rdma_rxe: rxe_reg_fast_mr: mr->lkey = N not free$
# kernel: ^rtrs_server LN: <[^>]*>: .*(WR flushed|session is disconnected)
# kernel: ^block nbdN: (Connection timed out|Receive control failed|Send disconnect failed)
ram_disk
cached_disk cache0
cable_up 4200
kernel_server always_invalidate=Y
softroce_plugin "$cable0" 1234 /dev/cache0
nbd_attach -C 2
exercise /dev/nbd0 /dev/cache0
filesystem /dev/nbd0
nbd_detach
plugin_stop
kernel_server_stop
# Small packets, IPv6, one key for ever.
cable_mtu 1500
kernel_server always_invalidate=N
softroce_plugin "$cable0_6" 1234 /dev/ram0
nbd_attach
exercise /dev/nbd0 /dev/ram0
nbd_detach
plugin_stop
# Large frames, which carry packets no larger.
cable_mtu 9000
softroce_plugin "$cable0" 1234 /dev/ram0
nbd_attach
fio_verify /dev/nbd0 --size=4m
nbd_detach
plugin_stop
kernel_server_stop
cable_down
