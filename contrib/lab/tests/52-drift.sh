#!/usr/bin/env bash
# Whatever somebody deletes or alters of a network in the kernel is right again within a second, while the containers run. Prints
# how long each thing was wrong.
# ALTERED=100 for more changes, SEED for other ones.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"
altered=${ALTERED:-40} seed=${SEED:-$RANDOM}

lab_up 2
create_network 1 net
gets 2 net
start 1 c1 --network net
start 1 c3 --network net
start 2 c2 --network net
a2=$(address_of 2 c2 net)
reaches 1 c1 "$a2"
vni=$(overlay 1 network inspect net | jq -r .vni)
containers() { docker 1 inspect -f '{{.Name}} {{.State.Running}} {{.State.StartedAt}} {{.RestartCount}}' c1 c3; }
before=$(containers)

echo "# $altered changes, seed $seed, under traffic"
in_container 1 c3 ping -i 0.05 -W 1 "$a2" >"$(state_dir)/ping" 2>&1 &
ends_with+=($!)
in_host 1 python3 "$LAB_DIR/tests/drift.py" "swov-$vni" "$(pid_of 1 c1)" "$a2" "$altered" "$seed" || fail "not all is mended"
grep -c 'icmp_seq' "$(state_dir)/ping" || :
same "containers" "$before" "$(containers)"
eventually 15 no_problems 1

echo "# the daemon starts after a veth pair and a namespace are gone"
must daemon_stop 1 KILL
must in_container 1 c1 ip link del eth0
must in_host 1 ip netns del "swov-$vni"
must daemon_start 1
for name in c1 c3; do eventually 10 docker 1 exec "$name" ping -c 1 -W 1 "$a2"; done
same "containers" "$before" "$(containers)"
eventually 15 no_problems 1

echo "# a container with NET_ADMIN deletes its interface again and again: it gets it back less and less often"
must docker 1 run -d --name hostile --hostname hostile --cap-add NET_ADMIN --network net busybox:local sh -c \
    'while :; do ip link del eth0 2>/dev/null; sleep 0.02; done'
pid=$(spawned 1 daemon)
# shellcheck disable=SC2016 # for the inner shell
ticks() { in_host 1 bash -c 'read -ra fields <"/proc/$1/stat"; echo $((fields[13] + fields[14]))' ticks "$pid"; }
sleep 3
first=$(ticks)
sleep 5
used=$(($(ticks) - first))
echo "the daemon used $used of 500 hundredths of a second"
((used < 150)) || fail "a container keeps the daemon busy: $used of 500 hundredths of a second"
reaches 1 c1 "$a2"
