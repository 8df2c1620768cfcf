#!/usr/bin/env bash
# A node's state directory is used by two daemons, copied to another host, rolled back, and lost. Each is noticed and reported, no
# address is handed out twice, and there is a way to recover.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

subnet=10.77.0.0/24
lab_up 3
for host in 1 2 3; do create_network "$host" net --subnet "$subnet"; done
for host in 1 2 3; do start "$host" "c$host" --network net; done
a1=$(address_of 1 c1 net) a2=$(address_of 2 c2 net)

# works I NAME: a new container on host I gets an address of its own and reaches the first of the others.
works() {
    start "$1" "$2" --network net
    if [[ $1 == 1 ]]; then reaches 1 "$2" "$a2"; else reaches "$1" "$2" "$a1"; fi
}

# Creates the network of host I's engine again and reconnects the container NAME.
reconnect() {
    must docker "$1" network disconnect net "$2"
    remove_network "$1" net
    create_network "$1" net --subnet "$subnet"
    must docker "$1" network connect net "$2"
}

echo "# two daemons on one state directory"
first=$(spawned 2 daemon)
refused in_host 2 timeout 20 "$(daemon_binary)" daemon --state-dir "$(daemon_state 2)" --advertise-addr "$(host_addr 2)" \
    --plugin-socket /run/lab/second-plugin.sock --control-socket /run/lab/second.sock --listen-addr 0.0.0.0:7999
prints "the state directory $(daemon_state 2) is held by process $first"
prints "--state-dir"
# With all of the first one's settings, as when it is started by hand beside the service.
refused in_host 2 timeout 20 "$(daemon_binary)" daemon --state-dir "$(daemon_state 2)" --advertise-addr "$(host_addr 2)"
prints "process $first"
same "the first daemon" "$first" "$(spawned 2 daemon)"
must no_problems 2
works 2 beside

echo "# a copy of another host's state directory"
must daemon_stop 2 KILL
must daemon_stop 3
must mv "$(daemon_state 3)" "$(daemon_state 3).own"
must cp -a "$(daemon_state 2)" "$(daemon_state 3)"
must daemon_start 2
no_start 3
prints "was copied from another host"
prints "join anew"
must rm -r "$(daemon_state 3)"
must mv "$(daemon_state 3).own" "$(daemon_state 3)"
must daemon_start 3
eventually 15 no_problems 3
works 2 original
works 3 own
no_address_twice net

echo "# a host whose machine id was changed on purpose"
must daemon_stop 3
must in_host 3 bash -c 'tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id'
no_start 3
prints "--accept-new-machine-id"
LAB_DAEMON_ARGS=--accept-new-machine-id must daemon_start 3
must daemon_stop 3
must daemon_start 3
eventually 15 no_problems 3
works 3 renamed

echo "# a state directory is rolled back"
must daemon_stop 2 KILL
must cp -a "$(daemon_state 2)" "$(daemon_state 2).then"
must daemon_start 2
for n in 1 2 3; do works 2 "since$n"; done
must daemon_stop 2 KILL
must rm -r "$(daemon_state 2)"
must mv "$(daemon_state 2).then" "$(daemon_state 2)"
# There is no new epoch while the writer is unreachable. Host 3 has heard host 2 in a later state.
cut_wire 1 2
cut_wire 2 1
must daemon_start 2
eventually 10 problem 2 "the state of this node is an old copy"
refused docker 2 run --rm --network net busybox:local true
prints "is older than what its peers have seen"
reaches 2 c2 "$(address_of 3 c3 net)"
must "$LAB_DIR/heal"
goes_on() { problem 2 "addresses in quarantine" && ! problem 2 "the state of this node is an old copy"; }
eventually 15 goes_on
for n in 1 2 3; do works 2 "after$n"; done
no_address_twice net
# A container with an address from the lost time has to be reconnected. Its address is free then, and no other is.
in_quarantine() { problem 2 "addresses in quarantine" | sed 's/.*: \([0-9]*\) of network net.*/\1/'; }
before=$(in_quarantine)
old=$(address_of 2 since1 net)
refused docker 2 run --rm --network net --ip "$old" busybox:local true
prints "a container that this node does not know of"
must docker 2 network disconnect net since1
same "addresses in quarantine" "$((before - 1))" "$(in_quarantine)"
start 2 heir --network net --ip "$old"
reaches 2 heir "$a1"
must docker 2 network connect net since1
reaches 2 since1 "$a1"
no_address_twice net

echo "# the state directory of a host is lost"
a3=$(address_of 3 c3 net)
must daemon_stop 3 KILL
must rm -r "$(daemon_state 3)"
must daemon_start 3
must overlay 3 status
prints "this node is in no cluster"
refused overlay 3 node ls
prints "swift-overlay init"
refused docker 3 run --rm --network net busybox:local true
prints "this node is in no cluster"
# Addresses that it owned stay its own until it is removed.
refused docker 1 run --rm --network net --ip "$a3" busybox:local true
prints host3
token=$(overlay 1 join-token --quiet)
refused overlay 3 join --token "$token" "$(host_addr 1)"
prints "the name host3 is taken"
prints "swift-overlay node rm --force --now host3"
eventually 10 says 1 3 unreachable
refused docker 2 run --rm --network net --ip "$a3" busybox:local true
prints host3
refused overlay 1 node rm host2
prints "swift-overlay leave"
refused overlay 1 node rm host3
prints "swift-overlay node rm --force host3"
must overlay 1 node rm --force host3
# A container that does not know of the removal may still use its address.
refused docker 2 run --rm --network net --ip "$a3" busybox:local true
prints "in quarantine for ten minutes"
must overlay 3 join --token "$token" "$(host_addr 1)"
refused docker 3 run --rm --network net busybox:local true
prints "remove the network and create it again"
for name in own renamed; do must docker 3 rm -f "$name"; done
reconnect 3 c3
reaches 3 c3 "$a1"
works 3 anew
no_address_twice net
must overlay 1 node rm --now host3
start 2 taken --network net --ip "$a3"
must docker 2 rm -f taken

echo "# the same for the catalogue's writer"
must daemon_stop 1 KILL
must rm -r "$(daemon_state 1)"
must daemon_start 1
eventually 10 problem 2 "catalogue writer host1 unreachable"
eventually 10 says 2 1 unreachable
reaches 2 c2 "$(address_of 3 c3 net)"
must overlay 2 promote --force
must overlay 2 node rm --force host1
must overlay 1 join --token "$(overlay 2 join-token --quiet)" "$(host_addr 2)"
reconnect 1 c1
a1=$(address_of 1 c1 net)
for host in 1 2 3; do works "$host" "end$host"; done
for host in 1 2 3; do must overlay "$host" node ls; done
no_address_twice net
