# shellcheck shell=bash
# Functions that the scenarios share. A scenario prints each `$ command` and its output, which `run-tests` shows if the scenario
# fails.
# Each has a lab of its own and leaves nothing over.

# shellcheck source=contrib/lab/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
LAB=${LAB_TEST_NAME:-test-$$}
export LAB
OUT=
# Processes of the machine that end with the scenario. A trap of the scenario's own would hide from `tear_down` how it ended.
ends_with=()

docker() { docker_cli "$@"; }

fail() {
    echo "FAILED: $*"
    exit 1
}

# must COMMAND…: prints the command and its output (kept in OUT), and fails if it fails.
must() {
    local code=0
    echo "\$ $*"
    OUT=$("$@" 2>&1) || code=$?
    [[ -z $OUT ]] || echo "$OUT"
    [[ $code -eq 0 ]] || fail "exit $code: $*"
}

# refused COMMAND…: fails if the command succeeds.
refused() {
    local code=0
    echo "\$ $*"
    OUT=$("$@" 2>&1) || code=$?
    [[ -z $OUT ]] || echo "$OUT"
    [[ $code -ne 0 ]] || fail "should have been refused: $*"
}

# verdict PASS|FAIL|NOTE CASE WHAT IT DID: one line of a case. The cases after one that failed run, too; `all_passed` comes last.
verdict() { printf '%s  %-56s %s\n' "$1" "$2" "$3" | tee -a "$(state_dir)/verdicts"; }
all_passed() {
    local failed
    failed=$(grep -c '^FAIL' "$(state_dir)/verdicts") || :
    [[ $failed == 0 ]] || fail "$failed of $(grep -c '^PASS\|^FAIL' "$(state_dir)/verdicts") cases"
}

# prints TEXT: the output of the last command contains it.
prints() { [[ $OUT == *"$1"* ]] || fail "did not print '$1'"; }

# same WHAT EXPECTED ACTUAL
same() {
    [[ $2 == "$3" ]] && return
    diff <(echo "$2") <(echo "$3") || :
    fail "$1: expected '$2', is '$3'"
}

# eventually SECONDS COMMAND…: repeats the command until it succeeds.
eventually() {
    local deadline=$((SECONDS + $1))
    shift
    echo "\$ $*"
    until OUT=$("$@" 2>&1); do
        if ((SECONDS >= deadline)); then
            [[ -z $OUT ]] || echo "$OUT"
            fail "not within the time given: $*"
        fi
        sleep 0.2
    done
    [[ -z $OUT ]] || echo "$OUT"
}

lab_up() {
    # shellcheck disable=SC2317 # called by the trap
    tear_down() {
        local code=$? host
        [[ ${#ends_with[@]} -eq 0 ]] || kill "${ends_with[@]}" 2>/dev/null || :
        if [[ $code -ne 0 ]]; then
            for ((host = 1; host <= $(host_count); host++)); do
                log_tail "$(host_dir "$host")/daemon.log" 40 2>&1
                log_tail "$(host_dir "$host")/dockerd.log" 20 2>&1
            done
        fi
        "$LAB_DIR/down" >/dev/null || code=1
        exit "$code"
    }
    trap tear_down EXIT
    must "$LAB_DIR/up" "$@" --cluster
}

# create_network I NAME OPTION…: creates it on this engine, unless it has already come from another one.
create_network() {
    local host=$1 name=$2 code=0
    shift 2
    echo "\$ docker $host network create -d swift-overlay --ipam-driver swift-overlay --ipam-opt net=$name $* $name"
    OUT=$(docker "$host" network create -d swift-overlay --ipam-driver swift-overlay --ipam-opt "net=$name" "$@" "$name" 2>&1) ||
        code=$?
    echo "$OUT"
    # It may be on its way here from another host at the same moment.
    [[ $code -eq 0 || $OUT == *already* ]] || fail "network create: exit $code"
    [[ $code -eq 0 ]] || eventually 5 docker "$host" network inspect -f '{{.Id}}' "$name"
    same "driver of $name" swift-overlay "$(docker "$host" network inspect -f '{{.Driver}}' "$name")"
}

remove_network() {
    local host=$1 name=$2 code=0
    echo "\$ docker $host network rm $name"
    OUT=$(docker "$host" network rm "$name" 2>&1) || code=$?
    echo "$OUT"
    # A network that is already gone is fine: its removal may have come from another engine.
    [[ $code -eq 0 || $OUT == *[Nn]"o such network"* || $OUT == *"not found"* ]] || fail "network rm: exit $code"
}

# gets I NAME: the network appears on the engine by itself.
gets() { eventually 10 docker "$1" network inspect -f '{{.Name}}' "$2"; }
# loses I NAME: the network disappears from the engine by itself.
has_not() { ! docker "$1" network inspect "$2" >/dev/null 2>&1; }
loses() { eventually 10 has_not "$1" "$2"; }

# asks I NAME QUESTION…: asks with `dig` in the container; the answers, sorted, are in OUT.
asks() {
    local host=$1 name=$2
    shift 2
    echo "\$ host$host, $name: dig $*"
    OUT=$(in_container "$host" "$name" dig @127.0.0.11 +time=3 +tries=1 +short "$@" 2>&1 | sort) || OUT="failed: $OUT"
    echo "$OUT"
}
# status_of I NAME QUESTION…: status code and number of answers.
status_of() {
    local host=$1 name=$2
    shift 2
    in_container "$host" "$name" dig @127.0.0.11 +time=3 +tries=1 "$@" 2>&1 | sed -n 's/.*status: \([A-Z]*\),.*/\1/p
        s/.* ANSWER: \([0-9]*\),.*/\1/p
        s/.*no servers could be reached.*/silence/p' | paste -sd " "
}
# finds I NAME QUESTION ADDRESS…: the answers are these, in any order.
finds() {
    local host=$1 name=$2 question=$3
    shift 3
    asks "$host" "$name" "$question"
    [[ $OUT == "$(printf '%s\n' "$@" | sort)" ]]
}

# start I NAME OPTION…: starts a container that only waits.
start() {
    local host=$1 name=$2
    shift 2
    must docker "$host" run -d --name "$name" --hostname "$name" --stop-timeout 1 "$@" busybox:local sleep 1000000
}

address_of() { docker "$1" inspect -f "{{(index .NetworkSettings.Networks \"$3\").IPAddress}}" "$2"; }
pid_of() { docker "$1" inspect -f '{{.State.Pid}}' "$2"; }

# addresses NETWORK: address, host and name of every running container on it, on all engines.
addresses() {
    local host ids
    for ((host = 1; host <= $(host_count); host++)); do
        mapfile -t ids < <(docker "$host" ps -q --filter "network=$1")
        [[ ${#ids[@]} -gt 0 ]] || continue
        docker "$host" inspect -f "{{(index .NetworkSettings.Networks \"$1\").IPAddress}} host$host {{.Name}}" "${ids[@]}"
    done
}

# Checks that no address was handed out twice, as the engines report them.
no_address_twice() {
    must addresses "$1"
    same "addresses that two containers have" "" "$(awk '{print $1}' <<<"$OUT" | sort | uniq -d)"
}

# says I J STATE: host I reports this state of host J.
says() {
    local state
    state=$(overlay "$1" node ls --format json | jq -r --arg name "host$2" '.[] | select(.name == $name) | .state')
    echo "host$1 of host$2: $state"
    [[ $state == "$3" ]]
}

# problem I TEXT: `status` of host I reports this problem.
problem() {
    overlay "$1" status --format json | jq -r '.problems[]' | grep -F -- "$2"
}
no_problems() { [[ -z $(overlay "$1" status --format json | jq -r '.problems[]' | tee -a /dev/stderr) ]]; }

# put_state_on I MOUNT-ARGUMENT…: puts the state directory of host I on a file system of its own.
put_state_on() {
    local host=$1 state
    state=$(daemon_state "$1")
    shift
    must daemon_stop "$host"
    must mv "$state" "$state.before"
    must mkdir -m 700 "$state"
    must in_host "$host" mount "$@" "$state"
    must in_host "$host" cp -a "$state.before/." "$state/"
    must in_host "$host" sync -f "$state"
    must rm -r "$state.before"
    must daemon_start "$host"
    eventually 15 no_problems "$host"
}

# fill I: fills the disk of its state directory; empty I frees it again.
fill() {
    # shellcheck disable=SC2016 # for the inner shell
    refused in_host "$1" bash -c 'cat /dev/zero >"$1/filler"' fill "$(daemon_state "$1")"
    prints "No space left on device"
}
empty() { must in_host "$1" rm "$(daemon_state "$1")/filler"; }

# no_start I: its daemon refuses to start; its last lines are in OUT.
no_start() {
    refused daemon_start "$1"
    OUT=$(tail -n 1 "$(host_dir "$1")/daemon.log")
}

# Cuts host I off from all others; contrib/lab/heal ends it.
cut_off() {
    local other
    for ((other = 1; other <= $(host_count); other++)); do
        [[ $other == "$1" ]] || { cut_wire "$1" "$other" && cut_wire "$other" "$1"; }
    done
}

# in_container I NAME COMMAND…: runs one of the machine's programs in the container's network namespace.
in_container() {
    local host=$1 name=$2
    shift 2
    in_host "$host" nsenter --target "$(pid_of "$host" "$name")" --net -- "$@"
}

# reaches I NAME ADDRESS: pings once, so the first packet counts too.
reaches() {
    must docker "$1" exec "$2" ping -c 3 -W 1 "$3"
    prints ", 0% packet loss"
}

never_reaches() { refused docker "$1" exec "$2" ping -c 2 -W 1 "$3"; }

# State of a host for networks and endpoints. The engine's own docker_gwbridge stays for good and is no leak.
footprint() {
    echo "links:"
    in_host "$1" ip -o link | awk -F': ' '{sub(/@.*/, "", $2); if ($2 != "docker_gwbridge") print "  " $2}' | sort
    echo "namespaces:"
    in_host "$1" find /run/netns -mindepth 1 -printf '  %f\n' | sort
    echo "forwarding rows:"
    in_host "$1" bridge fdb show | grep -Ev '^(33:33|01:00:5e):| docker_gwbridge' | sort || :
    echo "counts:"
    overlay "$1" status --format json | jq -r '"  endpoints \(.endpoints) leases \(.leases)"'
}

footprint_is() { [[ "$(footprint "$1")" == "$2" ]] || { diff <(echo "$2") <(footprint "$1"); return 1; }; }

# answers I NAME ADDRESS: one ping, without a word.
answers() { docker "$1" exec "$2" ping -c 1 -W 1 "$3" >/dev/null 2>&1; }

# attached I NAME NETWORK J OTHER: within a minute, and by itself, the container runs, and reaches the other one and is reached by it.
is_attached() {
    local own theirs
    OUT=$(docker "$1" inspect -f '{{.State.Status}} {{.State.Error}}' "$2")
    echo "$2: $OUT"
    [[ $OUT == "running " ]] || return
    own=$(address_of "$1" "$2" "$3") theirs=$(address_of "$4" "$5" "$3")
    [[ -n $own && -n $theirs ]] && answers "$1" "$2" "$theirs" && answers "$4" "$5" "$own"
}
attached() { eventually 60 is_attached "$@"; }

# as_engine I: the node has as many endpoints, and as many addresses handed out, as its engine has containers on networks of ours.
as_engine() {
    local network mine=0
    for network in $(docker "$1" network ls -q --filter driver=swift-overlay); do
        mine=$((mine + $(docker "$1" ps -q --filter "network=$network" | wc -l)))
    done
    OUT=$(overlay "$1" status --format json | jq -r '"endpoints \(.endpoints) leases \(.leases)"')
    echo "host$1: $OUT, containers $mine"
    [[ $OUT == "endpoints $mine leases $mine" ]]
}
# nothing_leaked: so on every host, a minute later at the latest.
nothing_leaked() {
    local host
    for ((host = 1; host <= $(host_count); host++)); do eventually 75 as_engine "$host"; done
}
