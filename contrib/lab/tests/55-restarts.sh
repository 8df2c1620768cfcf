#!/usr/bin/env bash
# Daemon, engine and host end and come back in every way that operators see, under traffic: no connection breaks, no packet is lost,
# no address stays behind, and nobody has to do anything.
# KILLS=20 kills the daemon more often than the 5 times of the default. SWIFT_OVERLAY_PREVIOUS is a build of the commit before: each
# daemon's first life is its.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

kills=${KILLS:-5}
[[ $kills =~ ^[1-9][0-9]*$ ]] || fail "KILLS is a number"
newest=${SWIFT_OVERLAY_BINARY:-}
if [[ -n ${SWIFT_OVERLAY_PREVIOUS:-} ]]; then export SWIFT_OVERLAY_BINARY=$SWIFT_OVERLAY_PREVIOUS; fi
lab_up 2
[[ -n $newest ]] || newest=$(daemon_binary)

create_network 1 net
gets 2 net
for host in 1 2; do
    start "$host" "c$host" --network net --restart always
    # On a network of the engine's own already: it starts its resolver with the first one, which takes longer than all else.
    must docker "$host" network create plain
    start "$host" "spare$host" --network plain
done
a1=$(address_of 1 c1 net) a2=$(address_of 2 c2 net)
reaches 1 c1 "$a2"

milliseconds() { echo $((${EPOCHREALTIME/./} / 1000)); }
now=0 longest=0 rebooting=()
# sandbox I NAME: the container's network namespace, for nsenter. A program of the machine in it alone gets the signals that are
# meant for it.
sandbox() { echo "/proc/$(host_init "$1")/root/proc/$(pid_of "$1" "$2")/ns/net"; }
# pings: a thousand a second from c1 to c2. arrived: none was lost.
pings() {
    local from
    from=$(sandbox 1 c1)
    nsenter --net="$from" -- python3 "$LAB_DIR/tests/pings.py" "$a2" >"$(state_dir)/pings" 2>&1 &
    pinging=$!
    ends_with+=("$pinging")
    sleep 0.5
}
arrived() {
    local code=0
    kill "$pinging" || :
    wait "$pinging" || code=$?
    must cat "$(state_dir)/pings"
    [[ $code -eq 0 ]] || fail "pings were lost: exit $code"
}

echo "# the daemon is killed and started $kills times under a TCP stream each way and a thousand pings a second"
near=$(sandbox 1 c1) far=$(sandbox 2 c2)
nsenter --net="$far" -- iperf3 -s -1 >"$(state_dir)/streamed" 2>&1 &
ends_with+=($!)
listens_at() { in_container "$1" "$2" ss -Hltn "sport = :$3" | grep -q .; }
eventually 10 listens_at 2 c2 5201
# A limited rate: a stream that takes both cores drops packets of others on any network.
nsenter --net="$near" -- iperf3 -c "$a2" --bidir -b "${RATE:-100M}" -t 86400 -i 1 --forceflush >"$(state_dir)/stream" 2>&1 &
stream=$!
ends_with+=("$stream")
sleep 1
pings
for ((life = 1; life <= kills; life++)); do
    host=$((1 + life % 2)) other=$((2 - life % 2))
    must daemon_stop "$host" KILL
    echo "$newest" >"$(state_dir)/daemon"
    # Away for a moment at one time, for seconds at another.
    sleep "$((life % 3))"
    must daemon_start "$host"
    now=$(milliseconds)
    must docker "$host" network connect net "spare$host"
    now=$(($(milliseconds) - now))
    echo "host$host, life $life: a container was attached $now ms after the daemon listened"
    ((now <= longest)) || longest=$now
    reaches "$host" "spare$host" "$(address_of "$other" "c$other" net)"
    must docker "$host" network disconnect net "spare$host"
done
arrived
kill -0 "$stream" 2>/dev/null || { cat "$(state_dir)/stream" && fail "the TCP stream ended"; }
for host in 1 2; do
    # shellcheck disable=SC2016 # for awk
    same "TCP resets at c$host" 0 "$(in_container "$host" "c$host" awk '/^Tcp:/ { if (n++) print $col; else for (i = 1; i <= NF; i++) if ($i == "EstabResets") col = i }' /proc/net/snmp)"
done
kill -INT "$stream"
wait "$stream" || :
silent=$(grep -v 'sender$\|receiver$' "$(state_dir)/stream" | grep -c ' 0.00 Bytes') || :
must tail -n 6 "$(state_dir)/stream"
echo "NOTE  $kills lives: no ping lost, no reset; the slowest first attachment took $longest ms; $silent seconds without bytes in a stream"
nothing_leaked
for host in 1 2; do eventually 15 no_problems "$host"; done

echo "# the engine is stopped, and killed; its containers end, and come back by their restart policy"
for signal in TERM KILL; do
    must engine_stop 1 "$signal"
    must engine_start 1
    attached 1 c1 net 2 c2
    nothing_leaked
done

echo "# the engine and the daemon are killed at once"
for first in daemon engine; do
    if [[ $first == daemon ]]; then
        must daemon_stop 1 KILL && must engine_stop 1 KILL
    else
        must engine_stop 1 KILL && must daemon_stop 1 KILL
    fi
    must daemon_start 1
    must engine_start 1
    attached 1 c1 net 2 c2
    nothing_leaked
done

echo "# with live-restore, the containers run on"
echo '{"live-restore": true}' >"$(host_dir 1)/etc-docker/daemon.json"
must engine_stop 1
must engine_start 1
attached 1 c1 net 2 c2
before=$(pid_of 1 c1)
a1=$(address_of 1 c1 net) a2=$(address_of 2 c2 net)
for what in "engine TERM" "engine KILL" "both KILL"; do
    read -r which signal <<<"$what"
    pings
    must engine_stop 1 "$signal"
    [[ $which == engine ]] || must daemon_stop 1 "$signal"
    sleep 1
    [[ $which == engine ]] || must daemon_start 1
    must engine_start 1
    arrived
    same "process of c1" "$before" "$(pid_of 1 c1)"
    same "address of c1" "$a1" "$(address_of 1 c1 net)"
    attached 1 c1 net 2 c2
    nothing_leaked
done
# It is taken down as any other: its engine knows it.
must docker 1 restart -t 1 c1
attached 1 c1 net 2 c2
nothing_leaked

echo "# the host is switched off and on, with live-restore on and off; the daemon comes first, as its unit says"
for live in true false; do
    echo "{\"live-restore\": $live}" >"$(host_dir 1)/etc-docker/daemon.json"
    must "$LAB_DIR/reboot" 1
    attached 1 c1 net 2 c2
    nothing_leaked
done

echo "# all hosts at once"
for host in 1 2; do
    "$LAB_DIR/reboot" "$host" &
    ends_with+=($!)
    rebooting[host]=$!
done
for host in 1 2; do wait "${rebooting[host]}" || fail "host $host does not come up"; done
attached 1 c1 net 2 c2
nothing_leaked
for host in 1 2; do eventually 15 no_problems "$host"; done
