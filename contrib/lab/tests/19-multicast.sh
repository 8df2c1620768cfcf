#!/usr/bin/env bash
# Multicast and broadcast from programs that bind no interface, as WildFly, JGroups, Hazelcast and mDNS do it.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

program=$LAB_DIR/resolvers/multicast.py

# hears GROUP HOST SENDER [HOST RECEIVER]…: each receiver gets what the sender sends to the group; deaf GROUP …: none does.
hears() { heard 5 20 "$@"; }
deaf() { heard 0 6 "$@"; }
heard() {
    local count=$1 seconds=$2 group=$3 from=$4 sender=$5 receivers=() waits=() n
    shift 5
    # A receiver is ready when it says so, not when the one before it did: its file is emptied only when it starts.
    rm -f "$(state_dir)"/heard.*
    while (($#)); do
        in_container "$1" "$2" /usr/bin/python3 "$program" receive "$group" 5353 "$seconds" >"$(state_dir)/heard.${#receivers[@]}" 2>&1 &
        waits+=($!)
        receivers+=("$2 on host $1")
        shift 2
    done
    for ((n = 0; n < ${#receivers[@]}; n++)); do
        eventually 10 grep -q ready "$(state_dir)/heard.$n"
    done
    must in_container "$from" "$sender" /usr/bin/python3 "$program" send "$group" 5353 "from $sender"
    wait "${waits[@]}"
    for ((n = 0; n < ${#receivers[@]}; n++)); do
        same "$group from $sender to ${receivers[n]}" "$count" "$(grep -c "from $sender from" "$(state_dir)/heard.$n" || :)"
    done
}
# through I NAME GROUP: interface by which the container sends to the group.
through() { in_container "$1" "$2" ip route get "$3" | sed -n 's/.* dev \([^ ]*\) .*/\1/p'; }
# goes I NAME NETWORK: the container's multicast goes through this network.
goes() { [[ $(device_of "$1" "$2" "$3") == "$(through "$1" "$2" 239.1.2.3)" ]]; }
device_of() { in_container "$1" "$2" ip -o -4 address | awk -v a="$(address_of "$1" "$2" "$3")/" 'index($4, a) == 1 {print $2}'; }

lab_up 2
create_network 1 mesh
gets 2 mesh
start 1 aa --network mesh
start 1 bb --network mesh
start 2 cc --network mesh
must docker 1 network create plain
start 1 pp --network plain
start 1 qq --network plain
for group in 239.1.2.3 224.0.0.251 255.255.255.255; do
    echo "# $group on a plain bridge, and on the overlay"
    hears "$group" 1 pp 1 qq
    hears "$group" 1 aa 1 bb 2 cc
    hears "$group" 2 cc 1 aa 1 bb
done

echo "# of two networks one has the route, and the other takes it over; nothing fails"
create_network 1 second
create_network 1 third
start 1 dd --network mesh
for network in second plain; do must docker 1 network connect "$network" dd; done
must goes 1 dd mesh
must docker 1 network disconnect mesh dd
eventually 2 goes 1 dd second
# With newer engines a container counts as starting for two seconds, and the network whose name comes first takes the route over.
sleep 3
must docker 1 network connect mesh dd
must goes 1 dd second
for _ in 1 2 3 4 5 6; do
    must docker 1 restart -t 0 dd
    same "routes" 1 "$(in_container 1 dd ip route | grep -c '^224.0.0.0/4')"
    eventually 2 goes 1 dd mesh
done

echo "# which one that is does not depend on the order in which the engine joins them"
start 1 jj --network third
sleep 3
for network in second mesh; do must docker 1 network connect "$network" jj; done
must goes 1 jj third
for _ in 1 2 3 4; do
    must docker 1 restart -t 0 jj
    eventually 2 goes 1 jj mesh
    same "routes" 1 "$(in_container 1 jj ip route | grep -c '^224.0.0.0/4')"
done
must docker 1 rm -f jj
subnet=$(docker 1 network inspect -f '{{(index .IPAM.Config 0).Subnet}}' mesh)
for n in 1 2 3 4 5 6; do
    must docker 1 create --name "kk$n" --network third busybox:local ip route get 239.1.2.3
    for network in second mesh; do must docker 1 network connect "$network" "kk$n"; done
    must docker 1 start -a "kk$n"
    prints "src ${subnet%.*}."
done

echo "# a container on three networks, from Compose, with a daemon that restarts meanwhile"
compose() { docker_compose=$(command -v docker-compose) && DOCKER_HOST=unix://$(docker_sock 1) "$docker_compose" -p "$LAB" "$@"; }
cat >"$(state_dir)/docker-compose.yml" <<'END'
version: "3.5"
services:
  node:
    image: busybox:local
    command: sleep 1000000
    stop_grace_period: 1s
    networks: [mesh, second, third]
networks:
  mesh: {external: true}
  second: {external: true}
  third: {external: true}
END
must compose -f "$(state_dir)/docker-compose.yml" up -d --scale node=4
must daemon_stop 1 KILL
must daemon_start 1
must compose -f "$(state_dir)/docker-compose.yml" restart
for n in 1 2 3 4; do
    same "routes of node $n" 1 "$(in_container 1 "${LAB}_node_$n" ip route | grep -c '^224.0.0.0/4')"
    eventually 2 goes 1 "${LAB}_node_$n" mesh
done
must compose -f "$(state_dir)/docker-compose.yml" down

echo "# a route that the container made itself stays, and the network is connected all the same"
start 1 ee --network plain --cap-add NET_ADMIN
must docker 1 exec ee ip route add 224.0.0.0/4 dev eth0
must docker 1 network connect mesh ee
same "device" eth0 "$(through 1 ee 239.1.2.3)"

echo "# an option turns it off"
refused docker 1 network create -d swift-overlay --ipam-driver swift-overlay -o swift-overlay.multicast-route=never quiet
prints "swift-overlay.multicast-route is true or false"
create_network 1 quiet -o swift-overlay.multicast-route=false
gets 2 quiet
start 1 ff --network quiet
start 2 gg --network quiet
for where in 1 2; do same "routes" 0 "$(in_container "$where" "$([[ $where == 1 ]] && echo ff || echo gg)" ip route | grep -c '^224' || :)"; done
deaf 239.1.2.3 1 ff 2 gg
must docker 1 network connect mesh ff
hears 239.1.2.3 1 ff 2 cc

echo "# IPv6 needs no route"
create_network 1 six --ipv6 --subnet 10.60.0.0/24 --subnet fd60::/64
create_network 1 seven --ipv6 --subnet 10.61.0.0/24 --subnet fd61::/64
gets 2 six
start 1 hh --network six
start 2 ii --network six
must docker 1 network connect seven hh
for group in ff15::1 ff02::fb; do
    hears "$group" 1 hh 2 ii
    hears "$group" 2 ii 1 hh
done
no_problems 1
