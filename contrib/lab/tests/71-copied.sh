#!/usr/bin/env bash
# A whole machine is copied, with its state directory and its machine id. The copy hands out nothing, and says what it is.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

lab_up 3
create_network 1 net
gets 2 net
start 2 original --network net

echo "# host 3 becomes a copy of host 2"
must daemon_stop 3
must rm -r "$(daemon_state 3)"
must cp -a "$(daemon_state 2)" "$(daemon_state 3)"
must in_host 3 bash -c 'cat >/etc/machine-id' < <(in_host 2 cat /etc/machine-id)
must daemon_start 3
eventually 20 problem 3 "another host runs with the identity of this node (host2, "
problem 3 "the cluster has it at $(host_addr 2):7947, and nobody answers this host at $(host_addr 3):7947"
must overlay 3 status
[[ $OUT != *"swift-overlay promote"* ]] || fail "it offers promote"
refused overlay 3 promote
refused docker 3 run --rm --network net busybox:local true

echo "# the original goes on"
says 1 2 alive
reaches 2 original "$(address_of 2 original net)"
