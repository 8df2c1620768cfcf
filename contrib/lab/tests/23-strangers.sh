#!/usr/bin/env bash
# A stranger with one address floods a member: connections that say nothing, half-sent frames in the name of a member, beginnings of joins,
# datagrams that cannot be answered. Memory and log stay small, and another host joins meanwhile.
# FLOOD_SECONDS=30 is the length of each (default 8).
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

seconds=${FLOOD_SECONDS:-8}
program=$LAB_DIR/tests/floods.py
bound=$((32 * 1024))

lab_up 3
create_network 1 net
gets 2 net
start 2 web --network net
must overlay 3 leave --force
must in_host 3 ip address add 10.99.0.113/24 dev eth0
member=$(overlay 1 node ls --format json | jq -r '.[] | select(.name == "host2") | .id')
token=$(overlay 1 join-token --quiet)

memory() { in_host 1 sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB$/\1/p' "/proc/$(spawned 1 daemon)/status"; }
lines() { wc -l <"$(host_dir 1)/daemon.log"; }
# join_and_leave: milliseconds of a join from the host's own address.
join_and_leave() {
    local began
    began=$(date +%s%3N)
    must overlay 3 join --token "$token" "$(host_addr 1)"
    echo "joined after $(($(date +%s%3N) - began)) ms"
    took=$(($(date +%s%3N) - began))
    must overlay 3 leave --force
}

# flood KIND COUNT [ARGUMENT]
flood() {
    local kind=$1 count=$2 before most now log took
    shift 2
    before=$(memory) log=$(lines) most=0
    in_host 3 /usr/bin/python3 "$program" "$kind" 10.99.0.113 "$(host_addr 1)" "$seconds" "$count" "$@" >"$(state_dir)/flood" 2>&1 &
    local flooding=$!
    ends_with+=("$flooding")
    sleep 2
    join_and_leave
    must docker 1 run --rm --network net busybox:local true
    while kill -0 "$flooding" 2>/dev/null; do
        now=$(memory)
        ((now <= most)) || most=$now
        sleep 0.2
    done
    wait "$flooding" || fail "the flood ended: $(cat "$(state_dir)/flood")"
    echo "$kind: $(cat "$(state_dir)/flood"); memory $before → at most $most KiB; $(($(lines) - log)) lines; join $took ms"
    ((most - before <= bound)) || fail "$kind: memory grew by $((most - before)) KiB"
    ((took <= 5000)) || fail "$kind: a join took $took ms"
    # Those of the join and of the container are the daemon's ordinary ones.
    same "$kind: lines about it are few" "" "$(tail -n "+$((log + 1))" "$(host_dir 1)/daemon.log" | grep -E 'refused|lost|warning' | tail -n +11)"
    no_problems 1
}

flood connections 5000
flood frames 1024 "$member"
flood hellos 10000
flood datagrams 10000
# The member was never away, and its log is whole.
start 1 here --network net
reaches 1 here "$(address_of 2 web net)"
same "sockets that were lost" "" "$(grep -E 'socket lost|listener lost' "$(host_dir 1)/daemon.log" || :)"
