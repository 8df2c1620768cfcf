#!/usr/bin/env bash
# `docker network prune` and `docker system prune` take a network from one engine, and from no container that has it configured.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

lab_up 3
ours=(-d swift-overlay --ipam-driver swift-overlay)
restarts() { docker "$1" inspect -f '{{.RestartCount}}' "$2"; }
is_restarting() { [[ $(docker "$1" inspect -f '{{.State.Status}}' "$2") == restarting ]]; }
goes_on() { (($(restarts "$1" "$2") > $3)); }

echo "# an idle host prunes a network that nobody is on: it goes from that engine alone"
must docker 1 network create "${ours[@]}" quiet
for host in 2 3; do gets "$host" quiet; done
must docker 2 system prune -f
prints quiet
sleep 6
must has_not 2 quiet
for host in 1 3; do must docker "$host" network inspect -f '{{.Name}}' quiet; done
must docker 3 network rm quiet
for host in 1 3; do loses "$host" quiet; done

echo "# containers of other hosts that do not run, or are in their restart back-off, keep it"
must docker 1 network create "${ours[@]}" shop
for host in 2 3; do gets "$host" shop; done
start 1 stopped --network shop
must docker 1 stop -t 0 stopped
must docker 1 create --name fresh --network shop busybox:local sleep 1000000
must docker 3 run -d --name failing --restart always --network shop busybox:local sh -c 'sleep 1; false'
sleep 5
for round in 1 2; do
    must docker 2 system prune -f
    eventually 15 is_restarting 3 failing
    before=$(restarts 3 failing)
    sleep 4
    must docker 1 start stopped
    must docker 1 stop -t 0 stopped
    eventually 70 goes_on 3 failing "$before"
    must has_not 2 shop
    must overlay 2 network create shop
done

echo "# \`rm\` of a user does not take it from them either"
must docker 2 network rm shop
sleep 6
must docker 1 start stopped
must docker 1 start fresh
must docker 1 stop -t 0 stopped fresh

echo "# a host prunes that has such containers itself: its engine has it again at once, and they start"
for round in 1 2 3; do
    echo "round $round"
    must docker 1 network prune -f
    prints shop
    gets 1 shop
    sleep 1
    must docker 1 start stopped
    must docker 1 start fresh
    eventually 5 docker 1 exec stopped ping -c 1 -W 1 fresh
    must docker 1 stop -t 0 stopped fresh
done
echo "# also with a fixed address and an alias, which it keeps"
must docker 1 network create "${ours[@]}" --subnet 10.65.0.0/24 fixed
for host in 2 3; do gets "$host" fixed; done
must docker 1 run -d --name pinned --network fixed --ip 10.65.0.77 --network-alias nail busybox:local sleep 1000000
must docker 1 stop -t 0 pinned
must docker 1 network prune -f
gets 1 fixed
sleep 1
must docker 1 start pinned
same "address" 10.65.0.77 "$(address_of 1 pinned fixed)"
start 2 other --network fixed
eventually 3 finds 2 other nail 10.65.0.77
must docker 1 rm -f pinned
must docker 2 rm -f other

echo "# and in its restart back-off"
eventually 70 is_restarting 3 failing
before=$(restarts 3 failing)
# Between two restarts: while it runs, its network is in use.
# shellcheck disable=SC2317 # called by eventually
prunes_shop() { must docker 3 network prune -f && [[ $OUT == *shop* ]]; }
eventually 70 prunes_shop
eventually 70 goes_on 3 failing "$before"

echo "# all of it goes with its containers"
must docker 3 rm -f failing
must docker 1 rm -f stopped fresh
must docker 1 network rm shop
must docker 1 network rm fixed
for host in 1 2 3; do
    loses "$host" shop
    loses "$host" fixed
    eventually 5 no_problems "$host"
done
