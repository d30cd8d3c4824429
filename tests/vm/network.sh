# shellcheck shell=bash
# shellcheck disable=SC2034
# Two soft RoCE devices that talk to themselves: two paths of a session.
address0=198.18.0.1
address1=198.18.1.1
network_up() {
  loop_rxe d0 $address0/24
  loop_rxe d1 $address1/24
}
