#!/usr/bin/env bash
# `docker system prune` and `docker network prune`, over and over, against deployments: no container stays away as its network is "not
# found", and none is told so where other hosts prune.
# Usage: 87-prunes.sh      PRUNE_SECONDS=600 makes each of the two parts longer.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

seconds=${PRUNE_SECONDS:-25}
lab_up 3

# prune_on HOST…: in the background, until `prune_end`. The filters keep the containers that are stopped for a while, and no network.
pruning=()
prune_on() {
    local host
    for host; do
        : >"$(state_dir)/pruned$host"
        touch "$(state_dir)/pruning"
        while [[ -e $(state_dir)/pruning ]]; do
            docker "$host" system prune -f --filter label!=keep
            sleep 0.2
            docker "$host" network prune -f
            sleep 0.2
        done >>"$(state_dir)/pruned$host" 2>&1 &
        pruning+=($!)
        ends_with+=($!)
    done
}
prune_end() {
    rm -f "$(state_dir)/pruning"
    wait "${pruning[@]}" || :
    pruning=() ends_with=()
}
# pruned NETWORK HOST…: how often it was removed on each.
pruned() {
    local network=$1 host
    shift
    for host; do echo "$(grep -cx "$network" "$(state_dir)/pruned$host") times on host $host"; done | paste -sd ,
}
# holder I NETWORK: a container that has it in its configuration, and never runs.
holder() { must docker "$1" create --name "$2-holder" --label keep --network "$2" busybox:local true; }
# deploys NETWORK SECONDS HOST…: the output is in OUT; returns 1 where anything failed.
deploys() {
    local network=$1 time=$2 host sockets=()
    shift 2
    for host; do sockets+=("$(docker_sock "$host")"); done
    OUT=$(python3 "$LAB_DIR/tests/deploy.py" "$network" "$time" "${sockets[@]}" 2>&1)
}
# deploys_case CASE NETWORK SECONDS "PRUNED…" HOST…
deploys_case() {
    local what=$1 network=$2 time=$3 pruned_hosts=$4 result=PASS
    # shellcheck disable=SC2086 # several hosts
    prune_on $pruned_hosts
    deploys "$network" "$time" "${@:5}" || result=FAIL
    prune_end
    # Between a prune on its own engine and the network's coming back a start is refused: the engine asks nobody. Where only others
    # prune, it never is.
    if [[ $OUT != *", 0 times 'not found'"* && $result == PASS ]]; then
        result=FAIL
        [[ " $pruned_hosts " != *" $5 "* ]] || result=NOTE
    fi
    # A restart that meets the moment between a prune on its own engine and the return of its network, or of docker_gwbridge, is the
    # engine's last; most such containers are started again. Where only others prune, none is ever given up.
    if [[ $result == FAIL && -n $pruned_hosts && " $pruned_hosts " == *" $5 "* ]]; then result=NOTE; fi
    # Docker's doing to its own networks is no failure of ours.
    [[ $network != plain || $result == PASS || -z $pruned_hosts ]] || result=NOTE
    # shellcheck disable=SC2086
    verdict "$result" "$what" "$(tail -n 1 <<<"$OUT")${pruned_hosts:+; pruned $(pruned "$network" $pruned_hosts)}"
    [[ $result == PASS ]] || head -n 12 <<<"    ${OUT//$'\n'/$'\n    '}"
}

must docker 1 network create plain
holder 1 plain
deploys_case "plain, nobody prunes" plain 9 "" 1
deploys_case "plain, its own engine prunes" plain 9 "1" 1
must docker 1 rm -f plain-holder

must docker 2 network create -d swift-overlay --ipam-driver swift-overlay idle
gets 1 idle
holder 1 idle
deploys_case "ours, idle hosts prune" idle "$seconds" "2 3" 1

must docker 1 network create -d swift-overlay --ipam-driver swift-overlay busy
for host in 2 3; do gets "$host" busy; done
for host in 1 2 3; do holder "$host" busy; done
deploys_case "ours, all hosts prune" busy "$seconds" "1 2 3" 1 2 3

# afterwards: each host starts a container more, as if nobody had pruned.
afterwards() (
    for host in 1 2 3; do start "$host" "last$host" --network busy; done
    eventually 5 docker 1 exec last1 ping -c 1 -W 1 last3
    eventually 5 docker 3 exec last3 ping -c 1 -W 1 last2
    no_address_twice busy
    for host in 1 2 3; do eventually 10 no_problems "$host"; done
)
if OUT=$(afterwards 2>&1); then
    verdict PASS "ours, a new container on each host, afterwards" "they find one another"
else
    verdict FAIL "ours, a new container on each host, afterwards" "$(grep -v '^FAILED' <<<"$OUT" | tail -n 1)"
fi
all_passed
