#!/usr/bin/env bash
# A Compose file of ten services, brought up on three hosts in every order and at one moment, and down again: names, networks and
# addresses are right each time, and nothing is left. The same file on a plain bridge of one engine is the control.
# Usage: 86-project.sh      ROUNDS=20 makes it longer; of seven rounds, one is at one moment on all hosts. ORDER=1+2+3
# takes that one alone. COMPOSE=PROGRAM is another Compose.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

rounds=${ROUNDS:-4}
lab_up 3
folder=$(state_dir)/ten
mkdir -p "$folder"
# Each looks itself up in its first instruction, as many programs do, by its alias on the internal network, and by
# alias.network elsewhere.
cat >"$folder/ours.yml" <<'END_OF_FILE'
version: "3.7"
x-service: &service
  image: busybox:local
  command: sh -c 'nslookup -type=a "$$SELF" >/tmp/first 2>&1; exec sleep 1000000'
  stop_grace_period: 0s
services:
  db:
    <<: *service
    environment: {SELF: database}
    networks: {back: {ipv4_address: 10.93.0.10, aliases: [database, pg]}}
  cache:
    <<: *service
    environment: {SELF: cache}
    networks: {back: {aliases: [redis]}}
  queue:
    <<: *service
    environment: {SELF: queue.ten_back}
    networks: {back: {}, front: {aliases: [amqp]}}
  api:
    <<: *service
    environment: {SELF: rest.ten_front}
    expose: ["8080", "8443"]
    networks: {front: {aliases: [rest]}, back: {}}
  worker:
    <<: *service
    environment: {SELF: worker}
    networks: [back]
  web:
    <<: *service
    environment: {SELF: www.ten_front}
    networks: {front: {ipv4_address: 10.94.0.10, aliases: [www, static]}}
  proxy:
    <<: *service
    environment: {SELF: proxy.ten_default}
    networks: {default: {aliases: [edge]}, front: {}}
  voice:
    <<: *service
    environment: {SELF: voice.ten_front}
    expose: [TEN_THOUSAND]
    networks: {front: {aliases: [sip]}}
  mail:
    <<: *service
    environment: {SELF: mail.ten_default}
    hostname: postbox
  client:
    <<: *service
    environment: {SELF: client.ten_back}
    networks: [front, back, default]
networks:
  default: {driver: swift-overlay, ipam: {driver: swift-overlay}}
  front: {driver: swift-overlay, ipam: {driver: swift-overlay, config: [{subnet: 10.94.0.0/24}]}}
  back: {driver: swift-overlay, internal: true, ipam: {driver: swift-overlay, config: [{subnet: 10.93.0.0/24}]}}
END_OF_FILE
# One by one, as Compose 2 takes a range for a port.
sed -i "s/TEN_THOUSAND/$(printf '"%s\\/udp",' {10000..19999})/" "$folder/ours.yml"
sed 's/swift-overlay/bridge/; s/ipam: {driver: swift-overlay, /ipam: {/; s/, ipam: {driver: swift-overlay}//' \
    "$folder/ours.yml" >"$folder/plain.yml"

# Options of the services on each host. `worker` is on two of them, two containers on each.
up=("" "db cache queue" "--scale worker=2 api web worker" "--scale worker=2 proxy voice mail client worker")
compose() {
    local host=$1 file=$2
    shift 2
    DOCKER_HOST=unix://$(docker_sock "$host") "${COMPOSE:-docker-compose}" --project-directory "$folder" -f "$folder/$file.yml" -p ten "$@"
}
# compose_up I, one_off I, compose_down I: the output goes to a file, as they run side by side; fails as Compose does.
compose_up() {
    # shellcheck disable=SC2086 # several words
    compose "$1" ours up -d ${up[$1]} >"$folder/up$1" 2>&1
}
one_off() { compose "$1" ours run -d --no-deps "$2" sleep 1000000 >"$folder/run$1" 2>&1; }
# Compose 2 takes one-off containers for orphans.
compose_down() { compose "$1" ours down --remove-orphans >"$folder/down$1" 2>&1; }
# on_hosts ORDER COMMAND: on each host of `1 2 3`, one after the other, or at once where the order is `1+2+3`. Prints what failed.
on_hosts() {
    local order=$1 host jobs=() failed=0
    shift
    for host in ${order//+/ }; do
        if [[ $order == *+* ]]; then
            "$@" "$host" &
            jobs+=("$host:$!")
        else
            "$@" "$host" || { failed=1 && complain "$host" "$1"; }
        fi
    done
    for job in "${jobs[@]}"; do wait "${job#*:}" || { failed=1 && complain "${job%%:*}" "$1"; }; done
    return "$failed"
}
complain() { echo "    $2 on host $1: $(grep -v '^Creating\|^Starting\|^Stopping\|^Removing' "$folder/${2#compose_}$1" | tail -n 3 | paste -sd ' ')"; }
one_of_each() {
    case $1 in
    2) one_off 2 api ;;
    3) one_off 3 worker ;;
    esac
}
sockets() { local host; for host; do echo "$host=$(docker_sock "$host")=/proc/$(host_init "$host")/root"; done; }

# networks_of I: name, driver, whether internal, and subnet where the file has one, of the project's networks.
networks_of() {
    docker "$1" network ls -q --filter name=ten_ | xargs -r "$client" -H "unix://$(docker_sock "$1")" network inspect -f \
        '{{.Name}} {{.Driver}} {{.Internal}} {{(index .IPAM.Config 0).Subnet}}' | sed '/^ten_default/s/ [^ ]*$/ automatic/' | sort
}
client=/usr/bin/docker
[[ -x $client ]] || client=docker
wanted_networks=$(printf '%s\n' "ten_back swift-overlay true 10.93.0.0/24" "ten_default swift-overlay false automatic" \
    "ten_front swift-overlay false 10.94.0.0/24")
networks_right() {
    local host subnets
    for host in 1 2 3; do
        [[ $(networks_of "$host") == "$wanted_networks" ]] || { echo "host $host has $(networks_of "$host" | paste -sd ';')" && return 1; }
        no_problems "$host" || return 1
    done
    subnets=$(overlay 1 network ls --format json | jq -r '.[].name' | sort | paste -sd ' ')
    [[ $subnets == "ten_back ten_default ten_front" ]] || { echo "the cluster has $subnets" && return 1; }
    # Engines may show one of their own, where they made the network at one moment: that of the containers counts.
    subnets=$(for host in 1 2 3; do overlay "$host" network inspect ten_default | jq -r '.subnets[0].subnet'; done | sort -u)
    [[ $(wc -l <<<"$subnets") == 1 ]] || { echo "ten_default is of $subnets" && return 1; }
    subnets=$(addresses ten_default | cut -d. -f1-3 | sort -u)
    [[ $(wc -l <<<"$subnets") == 1 ]] || { echo "containers on ten_default have addresses of $subnets" && return 1; }
}
nothing_left() {
    local host
    for host in 1 2 3; do
        [[ -z $(networks_of "$host") ]] || { echo "host $host still has $(networks_of "$host" | paste -sd ';')" && return 1; }
        footprint_is "$host" "${before[$host]}" || return 1
        [[ $(overlay "$host" network ls --format json) == "[]" ]] || { overlay "$host" network ls && return 1; }
        no_problems "$host" || return 1
    done
}
# within SECONDS COMMAND: like `eventually`, but returns 1 with the output in OUT.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until OUT=$("$@" 2>&1); do
        ((SECONDS < deadline)) || return 1
        sleep 0.3
    done
}
# round_case WHAT COMMAND…: verdict of one part of a round; OUT is printed where it fails.
round_case() {
    local what=$1
    shift
    if "$@"; then
        verdict PASS "round $round ($order): $what" "$(tail -n 1 <<<"$OUT")"
    else
        verdict FAIL "round $round ($order): $what" "$(grep -c . <<<"$OUT") lines"
        head -n 12 <<<"    ${OUT//$'\n'/$'\n    '}"
    fi
}
said() { OUT=$("$@" 2>&1); }
# brought_up: at one moment, a host may be told that a network has just come from another, and does it again. Docker has no word
# for it: on one engine, `up` of three parts of a project at one moment makes several networks of a name, and starts nothing.
brought_up() {
    said on_hosts "$order" compose_up && return
    local first=$OUT
    [[ $order == *+* && $first == *already* ]] && said on_hosts "$order" compose_up && OUT="at the second try: $(xargs <<<"$first")"
}
# checks ours|plain HOST=SOCKET=ROOT…: three verdicts of what `project.py` finds.
checks() {
    local all kind
    all=$(python3 "$LAB_DIR/tests/project.py" "$1" ten "${@:2}" 2>&1) || :
    for kind in "start: start, addresses, ports" "names: names" "first: itself, in the first instruction"; do
        round_case "${kind#*: }" none_of "${kind%%:*}" "$all"
    done
}
none_of() {
    OUT=$(grep "^$1: " <<<"$2") || { OUT=$(tail -n 1 <<<"$2") && [[ $OUT == *" containers, "*" names" ]]; }
    [[ $OUT != "$1: "* ]]
}

echo "# the control, on a bridge of host 1"
round=0 order=plain
must compose 1 plain up -d --scale worker=2
must compose 1 plain run -d --no-deps api sleep 1000000
mapfile -t at < <(sockets 1)
checks plain "${at[@]}"
must compose 1 plain down --remove-orphans

# The engine's own docker_gwbridge comes with the first container of a host.
for host in 1 2 3; do must docker "$host" network create -d swift-overlay --ipam-driver swift-overlay "first$host"; done
for host in 1 2 3; do
    must docker "$host" run --rm --network "first$host" busybox:local true
    must docker "$host" network rm "first$host"
done
no_networks() { [[ $(overlay "$1" network ls --format json) == "[]" ]]; }
for host in 1 2 3; do eventually 10 no_networks "$host"; done
before=()
for host in 1 2 3; do before[host]=$(footprint "$host"); done

mapfile -t at < <(sockets 1 2 3)
orders=("1 2 3" "3 2 1" "1+2+3" "2 1 3" "2 3 1" "3 1 2" "1 3 2")
[[ -z ${ORDER:-} ]] || orders=("$ORDER")
for ((round = 1; round <= rounds; round++)); do
    order=${orders[(round - 1) % ${#orders[@]}]}
    began=$SECONDS
    round_case "up" brought_up
    round_case "one-off run" said on_hosts "$order" one_of_each
    round_case "networks" within 10 networks_right
    checks ours "${at[@]}"
    round_case "down" said on_hosts "$order" compose_down
    round_case "nothing left" within 15 nothing_left
    echo "round $round: $((SECONDS - began)) s"
done
all_passed
