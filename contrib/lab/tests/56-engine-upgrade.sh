#!/usr/bin/env bash
# The engine of a host is upgraded from 20.10 to 28 on its data: its containers are on their networks afterwards, with their addresses
# free again where they got new ones, and nobody has to do anything. The other host's containers do not notice.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

# Making the tree takes minutes, and what the distribution has that day: it is made where somebody asks for that engine.
if [[ ! -e $DATA_ROOT/engine-28/.complete ]]; then
    echo "SKIPPED: the tree of engine 28 is not there; contrib/lab/up --engine 28 makes it"
    exit 0
fi

lab_up 2 --engine upgrade
create_network 1 net
gets 2 net
create_network 1 given --subnet 10.78.0.0/24
gets 2 given
start 1 c1 --network net --restart always
start 1 fixed --network given --ip 10.78.0.99 --restart unless-stopped
start 1 once --network net
start 2 c2 --network net --restart always
start 2 other --network given
must docker 2 network connect given c2
a2=$(address_of 2 c2 net)
reaches 1 c1 "$a2"

attached 1 c1 net 2 c2
for host in 1 2; do
    if [[ $host == 1 ]]; then far=2; else far=1; fi
    echo "# host $host, from $(docker "$host" version --format '{{.Server.Version}}')"
    in_container "$far" "c$far" ping -q -i 0.1 -c 5 "$(address_of "$far" "c$far" net)" >/dev/null
    must "$LAB_DIR/engine" "$host" upgrade
    must docker "$host" version --format '{{.Server.Version}}'
    [[ $OUT == 28.* ]] || fail "engine $OUT"
    attached 1 c1 net 2 c2
    attached 1 fixed given 2 c2
    nothing_leaked
done
same "address given by hand" 10.78.0.99 "$(address_of 1 fixed given)"

echo "# what has no restart policy starts by hand, as on any engine; new networks and containers work"
must docker 1 start once
must docker 2 start other
reaches 1 once "$(address_of 2 c2 net)"
reaches 2 other 10.78.0.99
create_network 2 later
gets 1 later
start 1 new1 --network later
start 2 new2 --network later
reaches 1 new1 "$(address_of 2 new2 later)"
nothing_leaked
no_address_twice net
no_address_twice given
must docker 1 rm -f new1
must docker 2 rm -f new2
remove_network 2 later
nothing_leaked
for host in 1 2; do eventually 15 no_problems "$host"; done
