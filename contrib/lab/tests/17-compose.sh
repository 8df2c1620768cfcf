#!/usr/bin/env bash
# One Compose file on two hosts, in any order, from a cold start; and an external network of Compose.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

lab_up 2
folder=$(state_dir)/shop
mkdir -p "$folder"
cat >"$folder/docker-compose.yml" <<'END'
version: "3.5"
services:
  web:
    image: busybox:local
    command: sleep 1000000
    stop_grace_period: 0s
    networks: {shop: {aliases: [www]}}
  client:
    image: busybox:local
    command: sleep 1000000
    stop_grace_period: 0s
    networks: [shop]
networks:
  shop:
    driver: swift-overlay
    ipam: {driver: swift-overlay}
    labels: {tier: front}
END
sed 's/driver: swift-overlay/external: true/; /ipam:/d; /labels:/d' "$folder/docker-compose.yml" >"$folder/external.yml"

compose() {
    local host=$1
    shift
    docker-compose -H "unix://$(docker_sock "$host")" --project-directory "$folder" -p shop "$@"
}
file=(-f "$folder/docker-compose.yml")
no_networks() { [[ $(overlay "$1" network ls --format json) == "[]" ]]; }
ids() { docker "$1" network ls -q --filter name=shop | wc -l; }

for order in "1 2" "2 1"; do
    read -r first second <<<"$order"
    echo "# web on host $first, then client on host $second"
    must compose "$first" "${file[@]}" up -d web
    gets "$second" shop_shop
    must compose "$second" "${file[@]}" up -d client
    [[ $OUT != *"Creating network"* ]] || fail "Compose made a network of its own"
    same "networks on host $second" 1 "$(ids "$second")"
    same "label" front "$(docker "$second" network inspect -f '{{.Labels.tier}}' shop_shop)"
    for name in web www shop_web_1 tasks.web web.shop_shop; do
        eventually 3 docker "$second" exec shop_client_1 ping -c 1 -W 1 "$name"
    done
    eventually 3 docker "$first" exec shop_web_1 ping -c 1 -W 1 client
    echo "# a one-off container does not answer for the service, unless it is told to"
    must compose "$first" "${file[@]}" run -d --name once web
    eventually 3 finds "$second" shop_client_1 once "$(address_of "$first" once shop_shop)"
    finds "$second" shop_client_1 web "$(address_of "$first" shop_web_1 shop_shop)" || fail "it answers for the service: $OUT"
    must compose "$first" "${file[@]}" run -d --use-aliases --name twice web
    eventually 3 finds "$second" shop_client_1 web "$(address_of "$first" shop_web_1 shop_shop)" \
        "$(address_of "$first" twice shop_shop)"
    must docker "$first" rm -f once twice
    echo "# up again changes nothing"
    must compose "$second" "${file[@]}" up -d client
    prints "up-to-date"
    # The network is in use on the other host, so it is removed from this one alone.
    must compose "$first" "${file[@]}" down
    must has_not "$first" shop_shop
    must docker "$second" network inspect shop_shop
    must compose "$second" "${file[@]}" down
    loses "$second" shop_shop
    eventually 5 no_networks "$first"
done

echo "# external: it is there on every host, whoever made it"
must docker 2 network create -d swift-overlay --ipam-driver swift-overlay shop_shop
gets 1 shop_shop
sed -i 's/external: true/external: {name: shop_shop}/' "$folder/external.yml"
external=(-f "$folder/external.yml")
must compose 1 "${external[@]}" up -d web
must compose 2 "${external[@]}" up -d client
eventually 3 docker 2 exec shop_client_1 ping -c 1 -W 1 www
echo "# a service that has containers on both hosts is one set, by its name and by its alias"
must compose 2 "${external[@]}" up -d web
for name in web www tasks.web web.shop_shop; do
    eventually 3 finds 2 shop_client_1 "$name" "$(address_of 1 shop_web_1 shop_shop)" "$(address_of 2 shop_web_1 shop_shop)"
done
must compose 1 "${external[@]}" down
must compose 2 "${external[@]}" down
must docker 1 network rm shop_shop
loses 2 shop_shop
