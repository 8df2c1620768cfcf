#!/usr/bin/env bash
# Frames for a network from somebody who is no tunnel of it: none is delivered, with the daemons running and killed. Without the filter each
# of these ways leads into the network.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

frames=1000
program=$LAB_DIR/tests/strangers.py

lab_up 3
create_network 1 net
gets 2 net
start 1 victim1 --network net
start 2 victim2 --network net
must docker 1 network create plain
start 1 tenant --network plain
vni=$(overlay 1 network ls --format json | jq -r '.[] | select(.name == "net") | .vni')
reaches 1 victim1 "$(address_of 2 victim2 net)"

# Ways in: name, victim's host, and the command that sends to the address and host in "$victim" and "$at".
nobody=(setpriv --reuid 65534 --clear-groups --)
tenant() { in_container 1 tenant "${nobody[@]}" /usr/bin/python3 "$program" send "$at" "$vni" "$victim" "$frames"; }
forger() { in_container 1 tenant /usr/bin/python3 "$program" send "$at" "$vni" "$victim" "$frames" "$(host_addr 2)"; }
user() { in_host 1 "${nobody[@]}" /usr/bin/python3 "$program" send "$at" "$vni" "$victim" "$frames"; }
loopback() { in_host 1 "${nobody[@]}" /usr/bin/python3 "$program" send 127.0.0.1 "$vni" "$victim" "$frames"; }
stranger() { in_host 3 "${nobody[@]}" /usr/bin/python3 "$program" send "$at" "$vni" "$victim" "$frames"; }
ways=("tenant 1" "tenant 2" "forger 1" "user 1" "user 2" "loopback 1" "stranger 1")

# Counts at a victim what comes in two seconds.
counters=()
count() {
    in_container "$1" "victim$1" /usr/bin/python3 "$program" count 3 >"$(state_dir)/counted$1" &
    counters+=($!)
    eventually 10 grep -q ready "$(state_dir)/counted$1" >/dev/null
}
counted() { tail -n 1 "$(state_dir)/counted$1"; }
# go WAY HOST: sends.
go() {
    at=$(host_addr "$2") victim=$(address_of "$2" "victim$2" net)
    "$1"
}
# delivered WAY HOST: number of frames that reach the victim on the host, in OUT.
delivered() {
    count "$2"
    go "$1" "$2"
    wait "${counters[@]}"
    counters=()
    OUT=$(counted "$2")
}
nothing_comes() {
    local way host
    for host in 1 2; do count "$host"; done
    # shellcheck disable=SC2086 # way and host
    for way in "${ways[@]}"; do go $way; done
    wait "${counters[@]}"
    counters=()
    for host in 1 2; do
        echo "$1: $(counted "$host") frames at host $host, of $frames by each of: ${ways[*]}"
        same "$1, host $host" 0 "$(counted "$host")"
    done
}

echo "# a member that has no part in the network, strangers beside it"
nothing_comes "member without the network"
echo "# the same host, removed"
must overlay 1 node rm --force --now host3
nothing_comes "removed"
echo "# daemons killed: the filter stays"
must daemon_stop 1 KILL
must daemon_stop 2 KILL
nothing_comes "daemons away"
reaches 1 victim1 "$(address_of 2 victim2 net)"
echo "# control: without the filter each way leads in"
for host in 1 2; do must in_host "$host" nft delete table inet swift_overlay; done
for way in "${ways[@]}"; do
    # shellcheck disable=SC2086 # way and host
    delivered $way
    # A forged sender needs a kernel that does not look at the way back (rp_filter).
    echo "without the filter: $OUT of $frames by way of $way"
    [[ $way == "forger 1" ]] || ((OUT > frames / 2)) || fail "this way does not lead in even without the filter: $way"
done
echo "# daemons that come back make it anew"
must daemon_start 1
must daemon_start 2
eventually 15 no_problems 1
nothing_comes "made anew"
reaches 1 victim1 "$(address_of 2 victim2 net)"
echo "# a firewall that is reloaded removes it: it comes back"
must in_host 1 nft flush ruleset
eventually 70 in_host 1 nft list table inet swift_overlay
same "docker's own rules were flushed, too" "" "$(in_host 1 nft list tables | grep -v swift_overlay || :)"
