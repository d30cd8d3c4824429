#!/bin/bash
# In a guest: the verbs fabric by itself on soft RoCE. $1: build directory.
set -euo pipefail
# shellcheck source=scripts/lib/vm-guest.sh
. /lab/lib.sh
loop_rxe d0 198.18.0.1/24
export RTRS_TEST_ADDRESS=198.18.0.1
"$1/tests/fabric/verbs/verbs_device_test" ${2:+"--gtest_filter=$2"}
