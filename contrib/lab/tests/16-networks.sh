#!/usr/bin/env bash
# Networks on every host: created on one, they appear on all; removed on one, they go from all, or from that one alone.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

# shape I NAME: what inspection shows, without what differs on each engine.
shape() {
    docker "$1" network inspect "$2" |
        jq -cS '.[0] | {Driver, EnableIPv6, Internal, Attachable, Labels, Options, IPAM: (.IPAM | .Config |= sort_by(.Subnet))}'
}
same_shape() { [[ $(shape 1 "$2") == "$(shape "$1" "$2")" ]] || { diff <(shape 1 "$2") <(shape "$1" "$2"); return 1; }; }

lab_up 3
ours=(-d swift-overlay --ipam-driver swift-overlay)

echo "# the same network on all engines"
must docker 1 network create "${ours[@]}" --subnet 10.77.0.0/16 --ip-range 10.77.5.0/24 --gateway 10.77.0.254 \
    --aux-address printer=10.77.5.1 --ipv6 --subnet fd00:77::/64 --gateway fd00:77::1 --attachable --label tier=a --label empty= \
    -o com.docker.network.driver.mtu=1400 --ipam-opt net=full full
must docker 1 network create "${ours[@]}" --internal plain
for host in 2 3; do
    for network in full plain; do
        gets "$host" "$network"
        eventually 2 same_shape "$host" "$network"
    done
done

echo "# time until the other engines have it"
for round in 1 2 3; do
    must docker 1 network create "${ours[@]}" "soon$round"
    began=$(date +%s%N)
    for host in 2 3; do
        until docker "$host" network inspect "soon$round" >/dev/null 2>&1; do
            (($(date +%s%N) - began < 10000000000)) || fail "soon$round does not come to host $host"
        done
    done
    took=$((($(date +%s%N) - began) / 1000000))
    echo "on both other engines $took ms after \`docker network create\` returned $( ((took <= 1000)) && echo PASS || echo SLOW)"
    must docker 3 network rm "soon$round"
    for host in 1 2; do loses "$host" "soon$round"; done
done

echo "# an engine that is down, and a host that comes later, get it when they come"
must engine_stop 2
must overlay 3 leave
must docker 1 network create "${ours[@]}" late
must engine_start 2
gets 2 late
must overlay 3 join --token "$(overlay 1 join-token --quiet)" "$(host_addr 1)"
gets 3 late
same_shape 3 full
# Not the network of its life before, which does not exist in its present cluster.
no_stale() {
    [[ $(docker 3 network ls --filter name=full -q | wc -l) == 1 &&
        $(overlay 3 network inspect full | jq -r .engineID) == "$(docker 3 network inspect -f '{{.Id}}' full)" ]]
}
eventually 10 no_stale

echo "# rm while another host has a container: removed from this engine alone, for good"
start 1 user --network late
must docker 2 network rm late
same "who has it" '["host1","host3"]' "$(overlay 2 network inspect late | jq -c '.nodes | sort')"
must overlay 2 network ls
row=$(grep -w late <<<"$OUT")
[[ $row == *host1*host3* && $row != *host2* ]] || fail "the list says of it: $row"
must docker 1 exec user true
must daemon_stop 2
must daemon_start 2
sleep 2
must has_not 2 late
must overlay 2 network create late
gets 2 late
must docker 1 rm -f user
must docker 2 network rm late
for host in 1 3; do loses "$host" late; done

echo "# the same name again, right after, by another host"
for round in 1 2 3; do
    host=$((round % 3 + 1))
    must docker "$host" network create "${ours[@]}" again
    for other in 1 2 3; do gets "$other" again; done
    must docker $((host % 3 + 1)) network rm again
    for other in 1 2 3; do loses "$other" again; done
done

echo "# two hosts at the same moment: one network"
rounds=(1 2 3 4 5)
for round in "${rounds[@]}"; do
    docker 1 network create "${ours[@]}" "both$round" >/dev/null 2>&1 &
    one=$!
    docker 2 network create "${ours[@]}" "both$round" >/dev/null 2>&1 &
    other=$!
    made=0
    if wait "$one"; then made=$((made + 1)); fi
    if wait "$other"; then made=$((made + 1)); fi
    ((made > 0)) || fail "neither made it"
    echo "round $round: $made of two calls were granted"
    for host in 1 2 3; do gets "$host" "both$round"; done
done
# The network that lost is used as it is, and is made anew once it has been idle for half a minute.
one_of_each() {
    local round subnets
    for round in "${rounds[@]}"; do
        subnets=$(for host in 1 2 3; do docker "$host" network inspect -f '{{(index .IPAM.Config 0).Subnet}}' "both$round"; done)
        [[ $(sort -u <<<"$subnets" | wc -l) == 1 &&
            $(overlay 3 network ls --format json | jq "[.[] | select(.name == \"both$round\")] | length") == 1 ]] || return 1
    done
}
eventually 60 one_of_each
for host in 1 2 3; do eventually 5 no_problems "$host"; done

echo "# for scripts"
must overlay 2 network create --subnet 10.88.0.0/24 --label tier=b -o com.docker.network.driver.mtu=1300 script
for host in 1 3; do gets "$host" script; done
same "label" b "$(docker 3 network inspect -f '{{.Labels.tier}}' script)"
refused overlay 2 network create script
prints "on this host already"
start 3 user --network script
named() { [[ $(overlay 1 network inspect script | jq -r '.endpoints[] | "\(.node) \(.names[0])"') == "host3 user" ]]; }
eventually 3 named
must overlay 1 network rm script
prints "it lives on, on host3"
refused overlay 1 network rm script
prints "remove it on host2, host3"
must docker 3 rm -f user
must overlay 3 network rm script
loses 2 script

echo "# where another network has the name, it is told, and mended when that one goes"
must docker 3 network create taken
must docker 1 network create "${ours[@]}" taken
eventually 5 problem 3 "network taken: this host's engine does not make it"
must docker 3 network rm taken
is_ours() { [[ $(docker 3 network inspect -f '{{.Driver}}' taken) == swift-overlay ]]; }
eventually 10 is_ours
eventually 5 no_problems 3

echo "# where two hosts' containers are on two networks of one name, both are told of, and the cluster's takes over in the end"
must daemon_stop 3
LAB_DAEMON_ARGS="--engine none" must daemon_start 3
# By its subnet alone: without the engine's API and without `net=`, its name is not known.
must docker 3 network create "${ours[@]}" --subnet 10.66.3.0/24 clash
start 3 here --network clash
must docker 1 network create "${ours[@]}" --subnet 10.66.1.0/24 clash
gets 2 clash
start 2 there --network clash
must daemon_stop 3
must daemon_start 3
eventually 10 problem 3 "network clash"
never_reaches 3 here "$(address_of 2 there clash)"
must docker 3 rm -f here
taken_over() { [[ $(docker 3 network inspect -f '{{(index .IPAM.Config 0).Subnet}}' clash) == 10.66.1.0/24 ]]; }
eventually 15 taken_over
eventually 5 no_problems 3
start 3 here --network clash
reaches 3 here "$(address_of 2 there clash)"
same "of that name" 1 "$(overlay 1 network ls --format json | jq '[.[] | select(.name == "clash")] | length')"
must docker 3 rm -f here
must docker 2 rm -f there

echo "# without the engine's API"
must daemon_stop 3
LAB_DAEMON_ARGS="--engine none" must daemon_start 3
same "the link" none "$(overlay 3 status --format json | jq -r .engine.state)"
must docker 1 network create "${ours[@]}" nolink
gets 2 nolink
must has_not 3 nolink
create_network 3 nolink
start 1 aa --network nolink
must docker 3 run -d --name bb --network "name=nolink,driver-opt=name=bee" busybox:local sleep 1000000
reaches 3 bb "$(address_of 1 aa nolink)"
eventually 3 finds 1 aa bee "$(address_of 3 bb nolink)"
eventually 3 finds 3 bb aa "$(address_of 1 aa nolink)"
refused overlay 3 network create no
prints "--engine none"
