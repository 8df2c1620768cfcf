#!/usr/bin/env bash
# Addresses and MACs that containers take by using them: a virtual address moves by gratuitous ARP and by an unsolicited neighbour
# advertisement, a container changes its MAC or has a second one. All hosts follow within a second.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

# Milliseconds within which everybody has to reach the new place.
within=${WITHIN:-1000}
vip=10.78.0.200
vip6=fd78::200

claim() {
    local host=$1 name=$2
    shift 2
    in_container "$host" "$name" /usr/bin/python3 "$LAB_DIR/claims/claim.py" "$@"
}

# serves I NAME ADDRESS: its answers to that address are its name.
serves() {
    claim "$1" "$2" serve "$3" "$2" >/dev/null 2>&1 &
    ends_with+=($!)
}

# moves ADDRESS LENGTH FROM-HOST FROM TO-HOST TO CLIENT…: the address goes from one container to another, which announces it; all
# clients (as HOST:NAME) reach the other one in time. `-` is nobody.
moves() {
    local address=$1 length=$2 from_host=$3 from=$4 to_host=$5 to=$6 client host at reached took log
    shift 6
    echo "# $address moves from $from to $to"
    log=$(host_dir 1)/watch
    for client; do
        claim "${client%%:*}" "${client#*:}" watch "$address" 6 >"$log.${client#*:}" 2>&1 &
        ends_with+=($!)
    done
    sleep 1
    [[ $from == - ]] || must in_container "$from_host" "$from" ip addr del "$address/$length" dev eth0
    must in_container "$to_host" "$to" ip addr add "$address/$length" dev eth0 nodad
    must claim "$to_host" "$to" announce eth0 "$address"
    at=$OUT
    sleep 5
    for client; do
        [[ ${client#*:} != "$to" ]] || continue
        reached=$(awk -v to="$to" '$2 == to { print $1; exit }' "$log.${client#*:}")
        # Sooner than it is announced where a client asked for it just then.
        took=$(awk -v at="$at" -v reached="${reached:-0}" 'BEGIN { printf "%d", (reached - at) * 1000 }')
        echo "$client reaches $to after $took ms"
        if [[ -z $reached ]] || ((took > within)); then
            cat "$log.${client#*:}"
            fail "$client does not reach $address at $to in time"
        fi
    done
}

lab_up 3
for host in 1 2 3; do create_network "$host" net --subnet 10.78.0.0/24; done
for host in 1 2 3; do start "$host" "c$host" --network net --cap-add NET_ADMIN; done
start 1 d1 --network net --cap-add NET_ADMIN
clients=(1:c1 1:d1 2:c2 3:c3)
for one in "${clients[@]}"; do serves "${one%%:*}" "${one#*:}" "$vip"; done

moves "$vip" 24 - - 1 c1 1:d1 2:c2 3:c3
moves "$vip" 24 1 c1 2 c2 1:c1 1:d1 3:c3
moves "$vip" 24 2 c2 1 d1 1:c1 2:c2 3:c3
moves "$vip" 24 1 d1 1 c1 1:d1 2:c2 3:c3

echo "# a daemon that is stopped and started keeps what was claimed"
must daemon_stop 1 KILL
reaches 3 c3 "$vip"
must daemon_start 1
reaches 2 c2 "$vip"
eventually 10 no_problems 1
same "answer of $vip at host 3" "$(docker 1 exec c1 cat /sys/class/net/eth0/address)" \
    "$(in_host 3 ip -n "$(in_host 3 ls /run/netns | grep swov-)" neigh show "$vip" | awk '{print $5}')"

echo "# another MAC"
must in_container 2 c2 ip link set eth0 address 02:aa:00:00:00:02
# The first answer may be on its way to the old MAC.
in_container 2 c2 ping -c 1 -W 1 "$(address_of 1 c1 net)" || :
sleep 1
reaches 2 c2 "$(address_of 1 c1 net)"
for one in 1:c1 1:d1 3:c3; do reaches "${one%%:*}" "${one#*:}" "$(address_of 2 c2 net)"; done

echo "# a second MAC, with an address that nobody leased"
must in_container 3 c3 ip link add link eth0 name virtual type macvlan mode bridge
must in_container 3 c3 ip link set virtual address 02:bb:00:00:00:03 up
must in_container 3 c3 ip addr add 10.78.0.210/24 dev virtual
must claim 3 c3 announce virtual 10.78.0.210
sleep 1
for one in 1:c1 1:d1 2:c2; do reaches "${one%%:*}" "${one#*:}" 10.78.0.210; done
for host in 1 2 3; do
    must in_host "$host" bridge -n "$(in_host "$host" ls /run/netns | grep swov-)" fdb show
    prints 02:bb:00:00:00:03
done

echo "# what is leased stays where it is"
must claim 1 d1 announce eth0 "$(address_of 2 c2 net)"
sleep 1
for one in 1:c1 3:c3; do reaches "${one%%:*}" "${one#*:}" "$(address_of 2 c2 net)"; done

echo "# it goes with the container"
must docker 3 rm -f c3
sleep 1
for host in 1 2; do
    must in_host "$host" bridge -n "$(in_host "$host" ls /run/netns | grep swov-)" fdb show
    [[ $OUT != *02:bb:00:00:00:03* ]] || fail "host $host keeps the MAC of a container that is gone"
done

echo "# IPv6"
for host in 1 2; do create_network "$host" six --ipv6 --subnet 10.79.0.0/24 --subnet fd78::/64; done
start 1 e1 --network six --cap-add NET_ADMIN
start 2 e2 --network six --cap-add NET_ADMIN
start 1 f1 --network six --cap-add NET_ADMIN
for one in 1:e1 2:e2 1:f1; do serves "${one%%:*}" "${one#*:}" "$vip6"; done
moves "$vip6" 64 - - 1 e1 1:f1 2:e2
moves "$vip6" 64 1 e1 2 e2 1:e1 1:f1
moves "$vip6" 64 2 e2 1 f1 1:e1 2:e2
