#!/usr/bin/env bash
# Engines in Swarm mode: the built-in overlay and ours work beside one another, whichever comes first, after restarts and reboots.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

swarm_up() {
    must docker 1 swarm init --advertise-addr "$(host_addr 1)"
    must docker 2 swarm join --token "$(docker 1 swarm join-token -q worker)" "$(host_addr 1)"
}
swarm_down() {
    must docker 2 swarm leave --force
    must docker 1 swarm leave --force
}

# Containers on both overlays of both hosts: o1 and o2 on ours, s1 and s2 on Swarm's, b1 and b2 on both.
ours_up() {
    create_network 1 ours
    gets 2 ours
    for host in 1 2; do start "$host" "o$host" --network ours --restart always; done
}
theirs_up() {
    must docker 1 network create -d overlay --attachable theirs
    for host in 1 2; do start "$host" "s$host" --network theirs --restart always; done
}
both_up() {
    for host in 1 2; do
        start "$host" "b$host" --network theirs --restart always
        must docker "$host" network connect ours "b$host"
    done
}
all_down() {
    for host in 1 2; do must docker "$host" rm -f "o$host" "s$host" "b$host"; done
    remove_network 1 ours
    loses 2 ours
    must docker 1 network rm theirs
}

# finds_soon I NAME OTHER NETWORK: by name and by address, soon.
finds_soon() {
    local host=$1 name=$2 other=$3 network=$4 there=$((3 - $1))
    eventually 60 docker "$host" exec "$name" ping -c 1 -W 1 "$other"
    eventually 60 docker "$host" exec "$name" ping -c 1 -W 1 "$(address_of "$there" "$other" "$network")"
}

# Engine 20.10 that manages a swarm by itself may start its containers before it knows its networks ("network … not found"), with or
# without us. Containers on our network alone come up by themselves.
revive() {
    local name
    sleep 5
    for name in "s$1" "b$1"; do
        [[ $(docker "$1" inspect -f '{{.State.Running}}' "$name") == true ]] || must docker "$1" start "$name"
    done
}

# Both overlays carry names and packets in both directions.
both_work() {
    local host there
    echo "# $1: both overlays work"
    for host in 1 2; do
        there=$((3 - host))
        finds_soon "$host" "o$host" "o$there" ours
        finds_soon "$host" "s$host" "s$there" theirs
        finds_soon "$host" "o$host" "b$there" ours
        finds_soon "$host" "s$host" "b$there" theirs
        finds_soon "$host" "b$host" "o$there" ours
        finds_soon "$host" "b$host" "s$there" theirs
        reaches "$host" "o$host" "o$there"
        reaches "$host" "s$host" "s$there"
    done
    for host in 1 2; do
        eventually 15 no_problems "$host"
        same "errors of Swarm's overlay on host $host" "" "$(grep -E 'error in agentInit|agent initialization' "$(host_dir "$host")/dockerd.log" || :)"
    done
}

lab_up 2

echo "# our daemon is there first"
ours_up
swarm_up
theirs_up
both_up
both_work "ours first"

echo "# our daemons are restarted"
for host in 1 2; do
    must daemon_stop "$host"
    must daemon_start "$host"
done
both_work "our daemons restarted"

echo "# the engines are restarted"
for host in 1 2; do
    must engine_stop "$host"
    must engine_start "$host"
done
revive 1
both_work "engines restarted"

echo "# a host is rebooted; our daemon comes first"
must host_reboot 2
must daemon_start 2
must engine_start 2
both_work "host 2 rebooted"

echo "# the other one is rebooted; the engine comes first"
must host_reboot 1
# The engine looks for the plugin of its networks for some seconds.
engine_start 1 &
engine=$!
sleep 2
must daemon_start 1
wait "$engine" || fail "the engine does not start"
revive 1
both_work "host 1 rebooted, with its engine first"

echo "# Swarm is there first, and our daemons start beside it"
all_down
swarm_down
for host in 1 2; do must daemon_stop "$host"; done
swarm_up
theirs_up
for host in 1 2; do must daemon_start "$host"; done
ours_up
both_up
both_work "Swarm first"
all_down
swarm_down
