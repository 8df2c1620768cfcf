#!/usr/bin/env bash
# The catalogue's writer is cut off from all others. Containers start on both sides from the addresses that are owned there until
# these
# are used up. Calls that need the writer are refused at once and name it. After the heal everything goes on, without a duplicate
# address.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

# launch I: one more container on host I; on failure the engine's message is in OUT.
declare -A launched=([1]=0 [2]=0 [3]=0)
launch() {
    launched[$1]=$((launched[$1] + 1))
    must docker "$1" create --name "n$1-${launched[$1]}" --stop-timeout 1 --network net busybox:local sleep 1000000
    echo "\$ docker $1 start n$1-${launched[$1]}"
    OUT=$(docker "$1" start "n$1-${launched[$1]}" 2>&1)
}

lab_up 3
for host in 1 2 3; do
    create_network "$host" net --subnet 10.78.0.0/27
    create_network "$host" wide
done
for host in 1 2 3; do start "$host" "c$host" --network net; done
for host in 2 3; do start "$host" "w$host" --network wide; done
declare -A first=([1]=$(address_of 1 c1 net) [2]=$(address_of 2 c2 net) [3]=$(address_of 3 c3 net))
for host in 1 2 3; do eventually 10 no_problems "$host"; done

echo "# the writer is cut off: calls that need it are refused at once"
cut_off 1
for host in 2 3; do eventually 10 problem "$host" "catalogue writer host1 unreachable"; done
for host in 2 3; do
    began=$SECONDS
    refused docker "$host" network create -d swift-overlay --ipam-driver swift-overlay --ipam-opt net=other other
    prints "catalogue writer host1 unreachable since"
    ((SECONDS - began <= 2)) || fail "that took $((SECONDS - began)) s"
done

echo "# containers start until the addresses that are owned there are used up"
for host in 2 3; do
    while launch "$host"; do
        ((launched[$host] < 28)) || fail "nothing is ever refused"
        must docker "$host" exec "n$host-${launched[$host]}" ping -c 1 -W 1 "${first[$((5 - host))]}"
    done
    echo "$OUT"
    prints "addresses of network net that node host$host owns"
    prints "are used up"
    prints "catalogue writer host1 unreachable since"
    ((launched[$host] > 1)) || fail "not one started on host $host"
    began=$SECONDS
    refused docker "$host" start "n$host-${launched[$host]}"
    ((SECONDS - began <= 2)) || fail "that took $((SECONDS - began)) s"
done

echo "# the rest of the work goes on, on both sides"
reaches 2 c2 "${first[3]}"
reaches 3 c3 "${first[2]}"
must docker 3 run --rm --network none busybox:local true
must docker 3 run --rm --network wide busybox:local ping -c 1 -W 1 "$(address_of 2 w2 wide)"
# A freed address is used again by this host.
must docker 2 rm -f n2-1
must docker 2 start "n2-${launched[2]}"
must docker 2 exec "n2-${launched[2]}" ping -c 1 -W 1 "${first[3]}"
must docker 3 restart c3
reaches 2 c2 "$(address_of 3 c3 net)"
# The writer has the free addresses and allocates more of them to itself.
for ((n = 1; n <= 5; n++)); do launch 1 || fail "$OUT"; done
must docker 1 exec "n1-5" ping -c 1 -W 1 "${first[1]}"
no_address_twice net

echo "# after the heal"
must "$LAB_DIR/heal"
for host in 1 2 3; do eventually 15 no_problems "$host"; done
must docker 3 start "n3-${launched[3]}"
for host in 1 2 3; do
    for ((n = 1; n <= 3; n++)); do launch "$host" || fail "$OUT"; done
    name=n$host-${launched[$host]}
    for other in c1 c2 c3; do
        must docker "$host" exec "$name" ping -c 1 -W 1 "$(address_of "${other#c}" "$other" net)"
    done
    create_network "$host" other
    must docker "$host" run --rm --network other busybox:local true
done
no_address_twice net

echo "# one host alone does not reach the writer"
cut_wire 1 2
eventually 10 problem 2 "catalogue writer host1 unreachable"
prints "answers other nodes, but not this one"
must says 2 1 alive
must no_problems 3
began=$SECONDS
refused docker 2 network create -d swift-overlay --ipam-driver swift-overlay --ipam-opt net=third third
prints "catalogue writer host1 unreachable since"
((SECONDS - began <= 2)) || fail "that took $((SECONDS - began)) s"
create_network 3 third
must "$LAB_DIR/heal"
eventually 15 no_problems 2
create_network 2 third
same "containers on the network" \
    "$((3 + launched[1] + launched[2] - 1 + launched[3]))" "$(addresses net | grep -c .)"
