# shellcheck shell=bash
# How a script begins that runs in a guest of its own, beside the one of all cases:
# ". $VM_SOURCE/tests/vm/start.sh" gives it the functions of the cases, $here
# (tests/vm) and $build ($VM_PARAM).
set -euo pipefail
here=${VM_SOURCE:?}/tests/vm
# shellcheck disable=SC2034
build=${VM_PARAM:?}
# shellcheck source=scripts/lib/vm-guest.sh
. /lab/lib.sh
# shellcheck source=tests/vm/network.sh
. "$here/network.sh"
# shellcheck source=tests/vm/lib.sh
. "$here/lib.sh"

# soft_roce ADDRESS: on the first network card, for programs and modules.
soft_roce() {
  addr eth0 "$1/24"
  rxe eth0
  modprobe ib_uverbs
  modprobe rdma_ucm
}
