#!/usr/bin/env bash
# The host changes under running containers: the MTU of its link, its address, its name. Containers follow, traffic goes on, and `status`
# says what cannot follow.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

# The daemons choose their addresses by themselves.
export LAB_ADVERTISE=no
lab_up 2
create_network 1 net
gets 2 net
create_network 1 fixed -o com.docker.network.driver.mtu=1450
start 1 c1 --network net
start 1 small --network net
start 1 f1 --network fixed
start 2 c2 --network net
a2=$(address_of 2 c2 net)
reaches 1 c1 "$a2"

mtu_of() { docker "$1" exec "$2" cat /sys/class/net/eth0/mtu; }
mtu_is() { [[ $(mtu_of "$1" "$2") == "$3" ]]; }
# underlay MTU: both hosts' links, and the switch between them.
underlay() {
    local host
    for host in 1 2; do
        must in_host "$host" ip link set eth0 mtu "$1"
        must ip -n "$LAB-switch" link set "h$host" mtu "$1"
    done
}
# fits SIZE: packets of that many bytes, which nobody may take apart, arrive.
fits() {
    must in_container 1 c1 ping -M 'do' -c 3 -W 2 -s "$(($1 - 28))" "$a2"
    prints ", 0% packet loss"
}

echo "# one stream of bytes goes on all the while"
in_container 2 c2 iperf3 -s -1 >"$(state_dir)/server" 2>&1 &
ends_with+=($!)
sleep 1
in_container 1 c1 iperf3 -c "$a2" -t 600 -b 20M --forceflush >"$(state_dir)/stream" 2>&1 &
stream=$!
ends_with+=("$stream")
# goes_on: the stream is there, and bytes went in one of its last seconds.
goes_on() {
    kill -0 "$stream" || fail "the stream broke: $(tail -n 5 "$(state_dir)/stream")"
    tail -n 2 "$(state_dir)/stream" | grep 'bits/sec' | grep -v ' 0.00 Bytes'
}

echo "# the MTU of the hosts' links goes down"
fits 1400
in_container 1 small ip link set eth0 mtu 1300
underlay 1400
for one in "1 c1" "2 c2"; do
    # shellcheck disable=SC2086 # two words
    eventually 5 mtu_is $one 1350
done
fits 1350
echo "# a packet that is too large is refused where it is sent, and not lost"
refused in_container 1 c1 ping -M 'do' -c 2 -W 2 -s 1372 "$a2"
prints "too long"
same "MTU that a container chose" 1300 "$(mtu_of 1 small)"
same "MTU that the user gave" 1450 "$(mtu_of 1 f1)"
must problem 1 "network fixed was made with an MTU of 1450"
start 1 c3 --network net
same "MTU of a new container" 1350 "$(mtu_of 1 c3)"

echo "# and up again"
underlay 1500
eventually 5 mtu_is 1 c1 1450
eventually 5 mtu_is 2 c2 1450
eventually 5 mtu_is 1 c3 1450
same "MTU that a container chose" 1300 "$(mtu_of 1 small)"
fits 1450
eventually 5 no_problems 1
eventually 5 goes_on

echo "# a host gets another address, and then the writer"
moved() {
    [[ $(overlay "$1" node ls --format json | jq -r --arg name "host$2" '.[] | select(.name == $name) | .address + " " + .state') == "$3 alive" ]]
}
vni=$(overlay 1 network ls --format json | jq -r '.[] | select(.name == "net").vni')
for host in 2 1; do
    new=10.99.0.$((20 + host))
    must in_host "$host" ip address del "$(host_addr "$host")/24" dev eth0
    must in_host "$host" ip address add "$new/24" dev eth0
    eventually 10 moved 1 "$host" "$new"
    eventually 10 moved 2 "$host" "$new"
    eventually 5 docker 1 exec c1 ping -c 1 -W 1 "$a2"
    reaches 1 c1 "$a2"
    must in_host "$host" ip -n "swov-$vni" -d link show vxlan0
    prints "local $new"
    eventually 10 goes_on
done
eventually 10 no_problems 1
eventually 10 no_problems 2

echo "# an address that the user gave is missed"
must daemon_stop 1
must in_host 1 ip address del 10.99.0.21/24 dev eth0
must in_host 1 ip address add "$(host_addr 1)/24" dev eth0
must env LAB_ADVERTISE=yes bash -c "source '$LAB_DIR/lib.sh'; daemon_start 1"
eventually 15 moved 2 1 "$(host_addr 1)"
must in_host 1 ip address del "$(host_addr 1)/24" dev eth0
eventually 10 problem 1 "my address is gone: no link of this host has $(host_addr 1) any more"
prints "--advertise-addr"
must in_host 1 ip address add "$(host_addr 1)/24" dev eth0
eventually 20 no_problems 1
eventually 5 docker 1 exec c1 ping -c 1 -W 1 "$a2"

echo "# two hosts of one name"
must in_host 2 hostname host1
must daemon_stop 2
must daemon_start 2
eventually 20 problem 2 "the name host1 is taken by node"
eventually 20 problem 1 "is called host1, like this one"
reaches 1 c1 "$a2"
