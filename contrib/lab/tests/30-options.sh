#!/usr/bin/env bash
# Options of `network create` and `run` take effect, and `inspect` shows them.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

lab_up 2
options=(--subnet 10.77.0.0/16 --ip-range 10.77.5.0/24 --gateway 10.77.0.254 --aux-address printer=10.77.5.1
    -o com.docker.network.driver.mtu=1400)
create_network 1 opts "${options[@]}"
create_network 2 opts "${options[@]}"
for host in 1 2; do
    config=$(docker "$host" network inspect opts | jq -c '.[0].IPAM.Config[0]')
    same "IPAM configuration on host $host" \
        '{"AuxiliaryAddresses":{"printer":"10.77.5.1"},"Gateway":"10.77.0.254","IPRange":"10.77.5.0/24","Subnet":"10.77.0.0/16"}' \
        "$(jq -cS . <<<"$config")"
    same "MTU option on host $host" 1400 \
        "$(docker "$host" network inspect opts | jq -r '.[0].Options["com.docker.network.driver.mtu"]')"
done

start 1 fixed --network opts --ip 10.77.5.99 --mac-address 02:42:0a:4d:05:63
same "address" 10.77.5.99 "$(address_of 1 fixed opts)"
same "MAC address" 02:42:0a:4d:05:63 "$(docker 1 inspect -f '{{.NetworkSettings.Networks.opts.MacAddress}}' fixed)"
device=$(in_container 1 fixed ip -o -4 address show | awk 'index($4, "10.77.5.99/16") == 1 {print $2}')
must in_container 1 fixed ip link show "$device"
prints "mtu 1400"
prints "02:42:0a:4d:05:63"

echo "# a taken address is refused, with the name of its owner"
refused docker 2 run --rm --network opts --ip 10.77.5.99 busybox:local true
prints 10.77.5.99
prints host1

echo "# the range is honoured, the auxiliary address is not handed out, on either host"
for n in 1 2 3 4; do
    host=$((n % 2 + 1))
    start "$host" "auto$n" --network opts
    got=$(address_of "$host" "auto$n" opts)
    [[ $got == 10.77.5.* && $got != 10.77.5.1 && $got != 10.77.5.99 ]] || fail "auto$n has $got"
    echo "$got" >>"$(state_dir)/addresses"
done
same "distinct addresses" 4 "$(sort -u "$(state_dir)/addresses" | grep -c .)"
reaches 2 auto1 10.77.5.99
echo "# a full-sized packet passes, a larger one does not"
must in_container 2 auto1 ping -c 1 -W 1 -M "do" -s 1372 10.77.5.99
refused in_container 2 auto1 ping -c 1 -W 1 -M "do" -s 1373 10.77.5.99

echo "# out of the network through docker_gwbridge, and in by a published port"
must docker 1 exec fixed ping -c 1 -W 1 "$(host_addr 2)"
must docker 1 run -d --name web --network opts -p 8080:80 busybox:local sh -c 'echo it works >/var/www/index.html; httpd -f -h /var/www'
eventually 5 in_host 2 curl -sf --max-time 2 "http://$(host_addr 1):8080/"
prints "it works"

echo "# a container with every port exposed, and one with a published range, start"
start 1 wide --network opts --expose 1-65535
reaches 2 auto1 "$(address_of 1 wide opts)"
# shellcheck disable=SC2317 # called by eventually
tells() { asks "$1" "$2" "$3" SRV && [[ $OUT == *" $4 "* ]]; }
eventually 10 tells 2 auto1 _60000._tcp.wide 60000
# A published port costs a process of the engine, so these are few; their list has the form of a long one.
start 1 voice --network opts -p 10000-10029:10000-10029/udp --expose 8080
eventually 10 tells 2 auto1 _10029._udp.voice 10029
eventually 10 tells 2 auto1 _8080._tcp.voice 8080
# A port that is not exposed is no name of ours. Docker's resolver is asked, and knows no better.
same "SRV of a port that is not exposed" no "$(tells 2 auto1 _8081._tcp.voice 8081 >/dev/null && echo yes || echo no)"
must docker 1 rm -f wide voice

echo "# an internal network has no way out"
create_network 1 inner --internal
create_network 2 inner --internal
start 1 in1 --network inner
start 2 in2 --network inner
must docker 1 exec in1 ip route
[[ $OUT != *default* ]] || fail "an internal network has a default route"
refused docker 1 exec in1 ping -c 1 -W 1 "$(host_addr 2)"
reaches 1 in1 "$(address_of 2 in2 inner)"
same "internal" true "$(docker 1 network inspect -f '{{.Internal}}' inner)"
