#!/usr/bin/env bash
# A stopped daemon, a killed daemon, and control traffic that is lost in one direction. The others report exactly that and nothing
# about
# anybody else, containers lose no packet meanwhile, and after each fault the kernels hold the live endpoints.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

# States that others report of a host, by its fault.
declare -A state_of=([well]=alive [stopped]=unreachable [killed]=daemon-down)
# States that nobody may report of a healthy host.
false_states='unreachable|daemon-down'

# Hosts by the names of their containers.
declare -A live=()
launch() {
    start "$1" "$2" --network net
    live[$2]=$1
}

all_well() {
    local i j
    for i in 1 2 3; do
        for j in 1 2 3; do says "$i" "$j" "${state_of[well]}" || return; done
    done
}

# watch_start I…: records what these hosts report of one another, until watch_end.
watch_start() {
    local i names
    names=$(printf '|host%s' "$@")
    (
        # Until watch_end, or the end of the lab.
        while [[ -e $(state_dir)/hosts ]]; do
            for i; do
                overlay "$i" node ls --format json | jq -r --arg by "host$i" '.[] | "\($by) of \(.name): \(.state)"' || :
            done | grep -E " of (${names#|}): " || :
            sleep 0.5
        done >"$(state_dir)/said"
    ) &
    watching=$!
}

# Nothing wrong was reported of healthy hosts, and something was reported.
watch_end() {
    kill "$watching"
    wait "$watching" 2>/dev/null || :
    must sort "$(state_dir)/said"
    [[ -n $OUT ]] || fail "nothing was said"
    [[ ! $OUT =~ ($false_states) ]] || fail "a host that is well was said to be ${BASH_REMATCH[1]}"
}

# ping_start HOST NAME TO: ten per second, until ping_end. The ping runs on the host and is identified there by its number.
pings=()
ping_start() {
    local host=$1 name=$2 to=$3 pid
    pid=$(pid_of "$host" "$name")
    # shellcheck disable=SC2016 # for the inner shell
    in_host "$host" bash -c '
        nsenter --target "$1" --net -- ping -i 0.1 -W 1 "$2" &
        echo $! >"/run/lab/ping-$3"
        wait
    ' ping "$pid" "$(address_of "${live[$to]}" "$to" net)" "$name-$to" >"$(state_dir)/ping-$name-$to" 2>&1 &
    pings+=("$host $name-$to $!")
}

pinging() { grep -q icmp_seq= "$(state_dir)/ping-$1"; }

# Both ways between all three hosts.
pings_start() {
    local from to
    pings=()
    for from in c1 c2 c3; do
        for to in c1 c2 c3; do
            [[ $from == "$to" ]] || ping_start "${live[$from]}" "$from" "$to"
        done
    done
    for from in "${pings[@]}"; do
        read -r _ to _ <<<"$from"
        eventually 5 pinging "$to"
    done
}

# Every packet up to the last answered one was answered. The end may have come before the very last answer.
no_gap() {
    awk '/icmp_seq=/ {sub(/.*icmp_seq=/, ""); n = $1 + 0; seen++; if (n > last) last = n}
        /packets transmitted/ {sent = $1}
        END {print seen, "answers, the last to packet", last, "of", sent; exit !(seen == last && last >= sent - 1 && last > 20)}' \
        "$(state_dir)/ping-$1"
}

pings_end() {
    local entry host name job
    for entry in "${pings[@]}"; do
        read -r host name job <<<"$entry"
        # shellcheck disable=SC2016 # for the inner shell
        in_host "$host" bash -c 'kill -INT "$(cat "/run/lab/ping-$1")"' kill "$name"
        wait "$job" || :
    done
    for entry in "${pings[@]}"; do
        read -r _ name _ <<<"$entry"
        must no_gap "$name"
    done
}

vni() { overlay "$1" network inspect net | jq .vni; }
mac_of() { docker "$1" inspect -f '{{(index .NetworkSettings.Networks "net").MacAddress}}' "$2"; }

# C: the rows and neighbours of every host are those of the live containers, and there are no others.
kernel_rows() {
    local inside=(nsenter "--net=/run/netns/swov-$(vni "$1")")
    in_host "$1" "${inside[@]}" bridge -j fdb show dev vxlan0 |
        jq -r '.[] | select(.dst and .mac != "00:00:00:00:00:00") | "row \(.mac) \(.dst)"'
    in_host "$1" "${inside[@]}" ip -j neighbour show dev br0 nud permanent | jq -r '.[] | "neighbour \(.lladdr) \(.dst)"'
}

live_rows() {
    local name host mac
    for name in "${!live[@]}"; do
        host=${live[$name]} mac=$(mac_of "${live[$name]}" "$name")
        [[ $host == "$1" ]] || echo "row $mac $(host_addr "$host")"
        echo "neighbour $mac $(address_of "$host" "$name" net)"
    done
}

converged() {
    local host
    for host in 1 2 3; do
        diff <(live_rows "$host" | sort) <(kernel_rows "$host" | sort) || { echo "host $host"; return 1; }
    done
}

signal_daemon() {
    local pid
    pid=$(spawned "$1" daemon) || fail "host $1 has no daemon"
    must in_host "$1" bash -c "kill -$2 $pid"
}

lab_up 3
for host in 1 2 3; do create_network "$host" net; done
for host in 1 2 3; do launch "$host" "c$host"; done
eventually 15 all_well
eventually 5 converged
reaches 1 c1 "$(address_of 3 c3 net)"
reaches 2 c2 "$(address_of 3 c3 net)"

echo "# a daemon is stopped for 20 s"
pings_start
watch_start 1 2
signal_daemon 3 STOP
stopped=$SECONDS
eventually 12 says 1 3 "${state_of[stopped]}"
eventually 12 says 2 3 "${state_of[stopped]}"
# Other containers come and go meanwhile.
launch 1 d1
reaches 2 c2 "$(address_of 1 d1 net)"
must docker 2 run --rm --network net busybox:local ping -c 1 -W 1 "$(address_of 1 d1 net)"
# The time itself is under test.
while ((SECONDS < stopped + 20)); do sleep 0.5; done
signal_daemon 3 CONT
eventually 10 all_well
eventually 5 converged
watch_end
pings_end
reaches 3 c3 "$(address_of 1 d1 net)"

echo "# a daemon is killed, and started again"
pings_start
watch_start 1 2
must daemon_stop 3 KILL
eventually 5 says 1 3 "${state_of[killed]}"
eventually 5 says 2 3 "${state_of[killed]}"
launch 2 d2
must docker 1 rm -f d1
unset 'live[d1]'
reaches 1 c1 "$(address_of 2 d2 net)"
must daemon_start 3
eventually 10 all_well
eventually 5 converged
watch_end
pings_end
reaches 3 c3 "$(address_of 2 d2 net)"

echo "# control traffic from host 2 to host 3 is lost, and only that way"
pings_start
watch_start 1 2 3
wire_table 3
must wire 3 add rule netdev swift_overlay_lab wire ether saddr "$(host_mac 2)" ip protocol '{ tcp, udp }' th dport 7947 counter drop
must wire 3 add rule netdev swift_overlay_lab wire ether saddr "$(host_mac 2)" ip protocol tcp th sport 7947 counter drop
launch 2 e2
must docker 2 rm -f d2
unset 'live[d2]'
launch 1 e1
reaches 1 c1 "$(address_of 2 e2 net)"
reaches 3 c3 "$(address_of 1 e1 net)"
# Nothing must happen, which takes time to show.
sleep 15
must wire 3 list chain netdev swift_overlay_lab wire
[[ $OUT =~ "counter packets "[1-9] ]] || fail "nothing was lost"
must "$LAB_DIR/heal"
eventually 10 all_well
eventually 5 converged
watch_end
pings_end
reaches 3 c3 "$(address_of 2 e2 net)"
reaches 2 e2 "$(address_of 3 c3 net)"
