#!/usr/bin/env bash
# Subnets that hosts have routes for, and docker_gwbridge, which must not get a subnet of the cluster.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

ours=(-d swift-overlay --ipam-driver swift-overlay)
subnet_of() { docker "$1" network inspect -f '{{(index .IPAM.Config 0).Subnet}}' "$2"; }
told() { problem "$1" "$2"; }

lab_up 2
echo "# docker_gwbridge is there before the first container, with the last free subnet of the engine's pools"
for host in 1 2; do
    eventually 5 subnet_of "$host" docker_gwbridge
    same "subnet" 192.168.240.0/20 "$(subnet_of "$host" docker_gwbridge)"
    same "options" '{"com.docker.network.bridge.enable_icc":"false","com.docker.network.bridge.enable_ip_masquerade":"true","com.docker.network.bridge.name":"docker_gwbridge"}' \
        "$(docker "$host" network inspect docker_gwbridge | jq -cS '.[0].Options')"
done

echo "# a Compose file with the subnet that the engine would have taken for it"
cat >"$(state_dir)/docker-compose.yml" <<'END'
version: "3.5"
services:
  web:
    image: busybox:local
    command: sleep 1000000
    stop_grace_period: 1s
    networks: [front]
networks:
  front:
    driver: swift-overlay
    name: front
    ipam:
      driver: swift-overlay
      config: [{subnet: 172.18.0.0/16}]
END
must env "DOCKER_HOST=unix://$(docker_sock 1)" docker-compose -f "$(state_dir)/docker-compose.yml" -p "$LAB" up -d
gets 2 front
start 2 other --network front
reaches 2 other "$(address_of 1 "${LAB}_web_1" front)"
must docker 2 exec other ping -c 1 -W 1 "$(host_addr 1)"
for host in 1 2; do no_problems "$host"; done

# refuses I SUBNET TEXT: a network with the subnet is refused on host I, with this text. Others hear of a host's new route within
# half a minute.
refuses() {
    if OUT=$(docker "$1" network create "${ours[@]}" --subnet "$2" probe 2>&1); then
        docker "$1" network rm probe
        return 1
    fi
    [[ $OUT == *"$3"* ]] && echo "$OUT"
}
echo "# an explicit subnet on a host's link, in an engine's network, in docker_gwbridge, on another host"
must in_host 2 ip link add lan type veth peer name lan-peer
must in_host 2 ip address add 10.123.4.1/24 dev lan
must in_host 2 ip link set lan up
must docker 2 network create --subnet 10.124.0.0/16 own
eventually 2 refuses 1 10.99.0.0/24 "overlaps the route 10.99.0.0/24 dev eth0, of node host1"
eventually 2 refuses 1 192.168.241.0/24 "overlaps the engine's network docker_gwbridge, 192.168.240.0/20, of node host1"
eventually 2 refuses 2 10.124.9.0/24 "overlaps the engine's network own, 10.124.0.0/16, of node host2"
eventually 12 refuses 2 10.123.4.0/25 "overlaps the route 10.123.4.0/24 dev lan, of node host2"
eventually 45 refuses 1 10.123.4.128/25 "overlaps the route 10.123.4.0/24 of node host2"
eventually 45 refuses 1 10.124.9.0/24 "overlaps the route 10.124.0.0/16 of node host2"
prints "-o swift-overlay.allow-overlap=true"
must docker 1 network create "${ours[@]}" --subnet 10.124.9.0/24 -o swift-overlay.allow-overlap=true meant
gets 2 meant
for host in 1 2; do no_problems "$host"; done

echo "# overlaps that come later are told where they are, and go with them"
create_network 1 late --subnet 10.130.0.0/16
gets 2 late
must in_host 2 ip route add 10.130.8.0/24 via 10.123.4.2
eventually 15 told 2 "subnet 10.130.0.0/16 of network late overlaps the route 10.130.8.0/24 dev lan, of this host"
no_problems 1
must in_host 2 ip route del 10.130.8.0/24
eventually 15 no_problems 2
must docker 1 network create --subnet 10.130.1.0/24 plain
eventually 5 told 1 "overlaps the engine's network plain, 10.130.1.0/24"
must docker 1 network rm plain
eventually 5 no_problems 1
# A VPN's two halves of the Internet are a default route.
for half in 0.0.0.0/1 128.0.0.0/1; do must in_host 2 ip route add "$half" via 10.123.4.2; done
sleep 12
no_problems 2

echo "# a host joins whose docker_gwbridge is in the way, and what the problem says helps"
must overlay 2 leave --force
must docker 2 rm -f other
for name in meant late front docker_gwbridge; do must docker 2 network rm "$name"; done
must docker 2 network create --subnet 172.18.0.0/16 -o com.docker.network.bridge.name=docker_gwbridge docker_gwbridge
must overlay 2 join --token "$(overlay 1 join-token --quiet)" "$(host_addr 1)"
gets 2 front
eventually 15 told 2 "no container of the network starts here"
refused docker 2 run --rm --network front busybox:local true
must docker 2 network rm docker_gwbridge
again() { [[ $(subnet_of 2 docker_gwbridge) == 192.168.240.0/20 ]]; }
eventually 90 again
eventually 15 no_problems 2
must docker 2 run --rm --network front busybox:local true
