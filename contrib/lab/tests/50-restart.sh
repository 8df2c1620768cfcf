#!/usr/bin/env bash
# A restart or crash of the daemon does not disturb traffic. A container survives a crash of the engine without a manual step.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

lab_up 2
create_network 1 net
create_network 2 net
start 1 c1 --network net --restart always
start 2 c2 --network net
a1=$(address_of 1 c1 net) a2=$(address_of 2 c2 net)
reaches 1 c1 "$a2"

# pings SECONDS: both ways, ten per second, into files.
pings() {
    in_container 1 c1 ping -i 0.1 -c "$((10 * $1))" -W 1 "$a2" >"$(state_dir)/ping1" 2>&1 &
    ping1=$!
    in_container 2 c2 ping -i 0.1 -c "$((10 * $1))" -W 1 "$a1" >"$(state_dir)/ping2" 2>&1 &
    ping2=$!
    sleep 1
}

no_loss() {
    local file
    wait "$ping1" "$ping2" || :
    for file in ping1 ping2; do
        must tail -n 3 "$(state_dir)/$file"
        prints ", 0% packet loss"
    done
}

echo "# the daemon is stopped and started"
pings 8
must daemon_stop 1
sleep 2
must daemon_start 1
no_loss
start 1 c3 --network net
reaches 1 c3 "$a2"

echo "# the daemon is killed, on the other host"
pings 8
must daemon_stop 2 KILL
sleep 2
must daemon_start 2
no_loss
start 2 c4 --network net
reaches 2 c4 "$a1"
reaches 1 c3 "$(address_of 2 c4 net)"

must docker 2 rm -f c4
must overlay 1 status
echo "# the engine is killed"
must engine_stop 1 KILL
must engine_start 1
running() { [[ $(docker 1 inspect -f '{{.State.Running}} {{.State.Restarting}}' c1) == "true false" ]]; }
eventually 30 running
# Its address may be the old one with a new MAC, which the containers on the other host must learn at once.
a1=$(address_of 1 c1 net)
eventually 5 docker 2 exec c2 ping -c 1 -W 1 "$a1"
reaches 2 c2 "$a1"
reaches 1 c1 "$a2"
