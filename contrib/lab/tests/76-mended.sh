#!/usr/bin/env bash
# Writes that a full disk refused are made up for later: nothing that was removed comes back at a later start, and nothing is
# missing.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

lab_up 3
for host in 1 2 3; do
    create_network "$host" net --subnet 10.77.0.0/24
    create_network "$host" gone
done
for host in 1 2 3; do start "$host" "c$host" --network net; done
put_state_on 2 -t tmpfs -o size=2m,mode=0700 state
start 2 old --network net

echo "# a container and a network that went while the disk was full"
fill 2
must docker 2 rm -f old
must docker 2 network rm gone
empty 2
sleep 2
must daemon_stop 2 KILL
must daemon_start 2
eventually 15 no_problems 2
same "leases" "$(overlay 2 status --format json | jq .endpoints)" "$(overlay 2 status --format json | jq .leases)"
create_network 2 gone

echo "# what the others decided while the disk was full"
given=10.77.0.25
fill 2
create_network 1 other
sleep 1
empty 2
start 2 new --network net
start 3 taker --network net --ip "$given"
must daemon_stop 2 KILL
cut_off 2
must daemon_start 2
sleep 2
# It does not know what it did not hear, and has on its disk what it heard.
refused docker 2 run -d --name twice --network net --ip "$given" busybox:local sleep 1000000
prints host3
must "$LAB_DIR/heal"
for host in 1 2 3; do eventually 15 no_problems "$host"; done
no_address_twice net
