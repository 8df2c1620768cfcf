#!/usr/bin/env bash
# A host comes up and its daemon LATE seconds after its engine (20 by default; LATE="20 90" tries both): the engine has given up on
# the containers of our networks by then. With --start-missed they run and are on their networks, and nobody has to do anything.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

read -ra late <<<"${LATE:-20}"
lab_up 2
if [[ $(in_host 1 "$(daemon_binary)" daemon --help) != *--start-missed* ]]; then
    echo "SKIPPED: this build has no --start-missed"
    exit 0
fi
create_network 1 net
gets 2 net
start 1 c1 --network net --restart always
start 1 c3 --network net --restart unless-stopped
start 1 stopped --network net --restart unless-stopped
start 1 once --network net
start 2 c2 --network net --restart always
must docker 1 stop -t 0 stopped
must docker 1 stop -t 0 once
attached 1 c1 net 2 c2

for seconds in "${late[@]}"; do
    for live in false true; do
        echo "# the daemon comes $seconds s late; live-restore: $live"
        echo "{\"live-restore\": $live}" >"$(host_dir 1)/etc-docker/daemon.json"
        must host_reboot 1
        # It looks for the plugin while it starts, so it is not waited for.
        engine_start 1 &
        starting=$!
        ends_with+=("$starting")
        sleep "$seconds"
        LAB_DAEMON_ARGS=--start-missed must daemon_start 1
        wait "$starting" || fail "the engine does not start"
        attached 1 c1 net 2 c2
        attached 1 c3 net 2 c2
        # Containers that somebody stopped stay so.
        for name in stopped once; do
            same "$name runs" false "$(docker 1 inspect -f '{{.State.Running}}' "$name")"
        done
        nothing_leaked
        eventually 15 no_problems 1
    done
done
