#!/usr/bin/env bash
# Three hosts are upgraded one by one from an earlier build to the present one, under pings, questions for names, and starts of
# containers: nothing is lost. `node ls` and `status` say who holds the later protocol back.
# SWIFT_OVERLAY_PREVIOUS is the program of the earlier build. Without it the present one plays it, held at the previous protocol.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

present=${SWIFT_OVERLAY_BINARY:-}
for build in release debug; do
    [[ $present ]] || ! [[ -x $REPO/.build/$build/swift-overlay ]] || present=$(realpath "$REPO/.build/$build/swift-overlay")
done
if [[ ${SWIFT_OVERLAY_PREVIOUS:-} ]]; then
    previous=$SWIFT_OVERLAY_PREVIOUS
    echo "# the earlier build is $previous"
else
    previous=$present
    export SWIFT_OVERLAY_TEST_PROTOCOL=2
    echo "# SWIFT_OVERLAY_PREVIOUS is not set: the present build plays the earlier one, held at protocol 2"
fi

lab_up 3 --daemon "$previous"
create_network 1 net
for host in 2 3; do gets "$host" net; done
for host in 1 2 3; do start "$host" "c$host" --network net; done
reaches 3 c3 "$(address_of 1 c1 net)"
reaches 2 c2 "$(address_of 3 c3 net)"

# goes_on I NAME OUTPUT COMMAND…: runs the command in container cI until `ends I NAME SIGNAL`.
goes_on() {
    local host=$1 name=$2 output=$3
    shift 3
    # shellcheck disable=SC2016 # for the inner shell
    in_container "$host" "c$host" bash -c 'echo $$ >"/run/lab/$1"; shift; exec "$@"' goes_on "$name" "$@" \
        >>"$(state_dir)/$output" 2>&1 &
    ends_with+=($!)
}
ends() { in_host "$1" bash -c "kill -$3 \$(cat /run/lab/$2)"; }

# Each pings the next one, twenty times a second.
for host in 1 2 3; do
    to=$((host % 3 + 1))
    goes_on "$host" pinger "ping$host" ping -i 0.05 -W 2 "$(address_of "$to" "c$to" net)"
done

# ask I NAME: asks for the name in container cI, five times a second. A host whose daemon is away knows the names of its own
# containers only, so the hosts that are not upgraded ask.
ask() {
    # shellcheck disable=SC2016 # for the inner shell
    goes_on "$1" asker names bash -c '
        trap "exit 0" TERM
        while :; do
            answer=$(dig @127.0.0.11 +time=3 +tries=1 +short "$1" 2>&1)
            [[ $answer == 10.* ]] && echo "answered" || echo "lost: $1: $answer"
            sleep 0.2
        done' ask "$2"
}

speaks() {
    OUT=$(overlay "$1" node ls --format json | jq -r --arg name "host$2" '.[] | select(.name == $name) | .speaks // "2"')
    [[ $OUT == "$3" ]]
}

# The writer is neither the first nor the last.
left=(3 1 2)
for host in 3 1 2; do
    echo "# host $host is upgraded"
    others=()
    for other in 1 2 3; do [[ $other == "$host" ]] || others+=("$other"); done
    ask "${others[0]}" "c${others[1]}"
    ask "${others[1]}" "c$host"
    must daemon_stop "$host"
    echo "$present" >"$(state_dir)/daemon"
    start "${others[0]}" "d$host" --network net
    held=${SWIFT_OVERLAY_TEST_PROTOCOL:-}
    unset SWIFT_OVERLAY_TEST_PROTOCOL
    must daemon_start "$host"
    start "$host" "e$host" --network net
    reaches "$host" "e$host" "$(address_of "${others[0]}" "d$host" net)"
    reaches "${others[1]}" "c${others[1]}" "$(address_of "$host" "e$host" net)"
    eventually 10 finds "${others[1]}" "c${others[1]}" "e$host" "$(address_of "$host" "e$host" net)"
    for other in "${others[@]}"; do must ends "$other" asker TERM; done
    left=("${left[@]:1}")
    must overlay "$host" status
    prints "2 in use, speaks 2 to 3"
    for other in "${left[@]}"; do prints "host$other"; done
    for other in "${left[@]}"; do must speaks "$host" "$other" 2; done
    for other in 1 2 3; do
        [[ " ${left[*]} " == *" $other "* ]] || eventually 20 speaks "$host" "$other" "2 to 3"
    done
    [[ -z $held ]] || export SWIFT_OVERLAY_TEST_PROTOCOL=$held
done
unset SWIFT_OVERLAY_TEST_PROTOCOL
must overlay 2 status
prints "every member speaks 3, used soon"
must overlay 2 node ls

for host in 1 2 3; do
    must ends "$host" pinger INT
    eventually 5 grep -q "packets transmitted" "$(state_dir)/ping$host"
    must tail -n 3 "$(state_dir)/ping$host"
    prints ", 0% packet loss"
done
same "names that were not answered" "" "$(grep -v '^answered' "$(state_dir)/names" | head -n 5 || :)"
echo "# $(grep -c '^answered' "$(state_dir)/names") names were answered"
for host in 1 2 3; do
    same "messages that host $host did not understand" "" "$(grep -i "does not decode" "$(host_dir "$host")/daemon.log" || :)"
done
no_address_twice net
