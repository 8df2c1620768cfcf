# shellcheck shell=bash disable=SC2034
# Functions that the lab's scripts share. Sourced, never run.
#
# A host of the lab is a network, mount, UTS and PID namespace with its own /run, /etc/docker, /etc/machine-id and /sys. Its first
# process is `host-init`. Killing that one ends everything that ever ran on the host, so nothing is ever looked up by name. All
# hosts
# are connected by one bridge in a namespace of its own, so neither the machine's network nor a Docker on it ever sees the lab.

LAB_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$LAB_DIR/../.." && pwd)
STATE_ROOT=${SWIFT_OVERLAY_LAB:-/run/swift-overlay-lab}
DATA_ROOT=${SWIFT_OVERLAY_LAB_DATA:-/var/lib/swift-overlay-lab}
CGROUP_ROOT=swift-overlay-lab
LAB=${LAB:-lab}
# Seconds to wait for a daemon. Many, as the machine may be compiling.
LAB_TIMEOUT=${LAB_TIMEOUT:-120}

# The distribution's tools come first, as a `docker` elsewhere on PATH may be too new for the distribution's engine.
export PATH="/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH"
unset DOCKER_HOST DOCKER_CONTEXT
export PYTHONDONTWRITEBYTECODE=1

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

need_root() {
    [[ $EUID -eq 0 ]] && return
    command -v sudo >/dev/null || die "must run as root, as there is no sudo"
    exec sudo -E env "PATH=$PATH" "$0" "$@"
}

check_name() {
    [[ $LAB =~ ^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$ ]] || die "a lab's name is made of a-z, 0-9 and '-': $LAB"
}

state_dir() { echo "$STATE_ROOT/$LAB"; }
host_dir() { echo "$STATE_ROOT/$LAB/h$1"; }
host_data() { echo "$DATA_ROOT/$LAB/h$1"; }
daemon_state() { echo "$DATA_ROOT/$LAB/h$1/swift-overlay"; }
host_netns() { echo "$LAB-h$1"; }
host_addr() { echo "10.99.0.$((10 + $1))"; }
host_mac() { printf '02:4c:ab:00:00:%02x' "$1"; }
docker_sock() { echo "$(host_dir "$1")/run/docker.sock"; }
host_count() { cat "$(state_dir)/hosts" 2>/dev/null || echo 0; }

# Packages for Debian and Ubuntu that the lab needs, with alternatives. A package is missing if none of its alternatives is
# installed.
LAB_PACKAGES=(
    'docker.io|docker-ce|moby-engine' iproute2 nftables iptables busybox-static jq curl iputils-ping iperf3 procps python3
    util-linux mount e2fsprogs bind9-dnsutils dnsmasq-base tcpdump dnsperf docker-compose musl-tools golang-go gcc
    libc6-dev
)
BUILD_PACKAGES=(pkg-config libnl-3-dev libnl-route-3-dev libsqlite3-dev)

# install_missing PACKAGE[|ALTERNATIVE]…: calls apt-get only if a package is missing.
install_missing() {
    local want candidate missing=() have policy=/usr/sbin/policy-rc.d made_policy=no failed=no log
    local as_root=()
    [[ $EUID -eq 0 ]] || as_root=(sudo)
    for want; do
        have=no
        for candidate in ${want//|/ }; do
            if [[ $(dpkg-query -W -f '${Status}' "$candidate" 2>/dev/null) == *"ok installed" ]]; then have=yes; fi
        done
        [[ $have == yes ]] || missing+=("${want%%|*}")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    command -v apt-get >/dev/null || die "missing, and there is no apt-get to install it: ${missing[*]}"
    echo "installing ${missing[*]}"
    # The lab runs engines of its own, so installing one must neither start nor need a service on this machine.
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 755 "$policy"
        made_policy=yes
    fi
    log=$(mktemp)
    {
        # A foreign repository may be broken. Only whether the packages are available matters.
        "${as_root[@]}" apt-get -q update || :
        # Newer distributions have the client in a separate package.
        if [[ " ${missing[*]} " == *" docker.io "* ]] && apt-cache show docker-cli; then missing+=(docker-cli); fi
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 install "${missing[@]}"
    } </dev/null >"$log" 2>&1 || failed=yes
    [[ $made_policy == no ]] || "${as_root[@]}" rm -f "$policy"
    if [[ $failed == yes ]]; then
        tail -n 20 "$log" >&2
        die "apt-get could not install ${missing[*]} (log: $log)"
    fi
    rm -f "$log"
}

# Start time of the process PID in PROC (a /proc). Together with the pid it identifies a process for ever.
start_time() {
    local stat fields threads
    { stat=$(<"$1/$2/stat"); } 2>/dev/null || return 1
    read -ra fields <<<"${stat##*) }"
    # Empty for a process that is just ending.
    [[ ${fields[0]:-} ]] || return 1
    # A zombie with other threads is still closing its files.
    threads=("$1/$2/task"/*)
    [[ ${fields[0]} != Z || ${#threads[@]} -gt 1 ]] || return 1
    echo "${fields[19]}"
}

# Pid of the first process of host I, if that is alive.
host_init() {
    local pid started
    read -r pid started 2>/dev/null <"$(host_dir "$1")/init" || return 1
    [[ $(start_time /proc "$pid") == "$started" ]] || return 1
    echo "$pid"
}

need_host() {
    [[ ${1:-} =~ ^[1-9][0-9]*$ ]] || die "the first argument must be the number of a host"
    host_init "$1" >/dev/null || die "lab '$LAB' has no running host $1 (start one with contrib/lab/up)"
}

# in_host I COMMAND…: runs the command inside the host's namespaces.
in_host() {
    local pid
    pid=$(host_init "$1") || die "lab '$LAB' has no running host $1"
    shift
    nsenter --target "$pid" --mount --net --uts --pid -- "$@"
}

# spawn I NAME COMMAND…: starts a daemon as a child of the host's first process, and records its pid there.
spawn() {
    local host=$1 name=$2 log
    shift 2
    log=$(host_dir "$host")/$name.log
    # shellcheck disable=SC2016 # for the inner shell
    in_host "$host" bash -c '
        ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
        name=$1; shift
        setsid "$@" &
        read -r -a fields <"/proc/$!/stat"
        echo "$! ${fields[21]}" >"/run/lab/$name"
    ' spawn "$name" "$@" </dev/null >>"$log" 2>&1
}

# Pid, inside the host, of a daemon that `spawn` started, if that is alive.
spawned() {
    local init pid started
    init=$(host_init "$1") || return 1
    read -r pid started 2>/dev/null <"$(host_dir "$1")/run/lab/$2" || return 1
    [[ $(start_time "/proc/$init/root/proc" "$pid") == "$started" ]] || return 1
    echo "$pid"
}

# stop_spawned I NAME SIGNAL: signals the daemon and waits for its end.
stop_spawned() {
    local pid tries
    pid=$(spawned "$1" "$2") || return 0
    in_host "$1" bash -c "kill -$3 $pid" || :
    for ((tries = 0; tries < 400; tries++)); do
        spawned "$1" "$2" >/dev/null || return 0
        sleep 0.05
    done
    echo "host $1: $2 did not end within 20 s of SIG$3" >&2
    in_host "$1" bash -c "kill -KILL $pid" || :
    return 1
}

log_tail() {
    echo "--- last lines of $1" >&2
    tail -n "${2:-15}" "$1" >&2 2>/dev/null || :
}

# wait_for I NAME WHAT COMMAND…: waits until COMMAND succeeds; fails at once if the daemon NAME has ended.
wait_for() {
    local host=$1 name=$2 what=$3 deadline=$((SECONDS + LAB_TIMEOUT))
    shift 3
    until "$@" >/dev/null 2>&1; do
        if ! spawned "$host" "$name" >/dev/null || ((SECONDS >= deadline)); then
            log_tail "$(host_dir "$host")/$name.log"
            echo "host $host: $what is not ready (log: $(host_dir "$host")/$name.log)" >&2
            return 1
        fi
        sleep 0.1
    done
}

docker_cli() {
    local host=$1 client=/usr/bin/docker
    shift
    [[ -x $client ]] || client=docker
    command "$client" -H "unix://$(docker_sock "$host")" "$@"
}

engine_start() {
    local host=$1 data tree command=(dockerd)
    spawned "$host" dockerd >/dev/null && return
    data=$(host_data "$host")
    tree=$(cat "$(state_dir)/tree")
    [[ ! -e $(host_dir "$host")/before-upgrade ]] || tree=
    if [[ -n $tree ]]; then
        # A folder for temporary files that the machine has, the tree need not have.
        command=(nsenter --target "$(cat "$(host_dir "$host")/run/lab/tree")" --mount -- env -u TMPDIR /usr/sbin/dockerd)
    fi
    # A killed engine leaves its pidfile, and refuses to start while any process has that pid.
    rm -f "$(host_dir "$host")/run/docker.pid"
    spawn "$host" dockerd "${command[@]}" --data-root "$data/docker" --storage-driver "${LAB_STORAGE_DRIVER:-vfs}" \
        --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$CGROUP_ROOT/$LAB/h$host"
    wait_for "$host" dockerd "the engine" curl -sf --max-time 5 --unix-socket "$(docker_sock "$host")" http://engine/_ping
}

engine_stop() { stop_spawned "$1" dockerd "${2:-TERM}"; }

# Ends the engine and starts the newer one on its data, in a lab that was brought up with --engine upgrade.
engine_upgrade() {
    [[ -e $(host_dir "$1")/before-upgrade ]] || die "the engine of host $1 cannot be upgraded (contrib/lab/up --engine upgrade)"
    engine_stop "$1"
    rm "$(host_dir "$1")/before-upgrade"
    engine_start "$1"
}

daemon_binary() { cat "$(state_dir)/daemon" 2>/dev/null; }

# Checks for a connection, whatever the answer: 7 is curl's "could not connect".
listens() {
    local code=0
    curl -s --max-time 1 --unix-socket "$1" http://daemon/ >/dev/null 2>&1 || code=$?
    [[ $code -ne 7 ]]
}

daemon_start() {
    local host=$1 binary run args=()
    binary=$(daemon_binary)
    [[ -n $binary ]] || die "lab '$LAB' was brought up without swift-overlay"
    spawned "$host" daemon >/dev/null && return
    run=$(host_dir "$host")/run
    read -ra args <<<"${LAB_DAEMON_ARGS:-}"
    [[ ${LAB_ADVERTISE:-yes} == no ]] || args=(--advertise-addr "$(host_addr "$host")" "${args[@]}")
    # The state folder is given, as the machine may have no /var/lib/swift-overlay to bind over.
    spawn "$host" daemon "$binary" daemon --state-dir "$(daemon_state "$host")" \
        --plugin-socket /run/docker/plugins/swift-overlay.sock --control-socket /run/swift-overlay/control.sock \
        --log-level "${LAB_LOG_LEVEL:-info}" "${args[@]}"
    wait_for "$host" daemon "swift-overlay" listens "$run/swift-overlay/control.sock"
    wait_for "$host" daemon "swift-overlay" listens "$run/docker/plugins/swift-overlay.sock"
}

daemon_stop() { stop_spawned "$1" daemon "${2:-TERM}"; }

overlay() {
    local host=$1 binary
    shift
    binary=$(daemon_binary)
    [[ -n $binary ]] || die "lab '$LAB' was brought up without swift-overlay"
    in_host "$host" "$binary" "$@"
}

# Runs `init` on the first host and `join` on the others.
form_cluster() {
    local host token
    overlay 1 init >"$(state_dir)/init.out"
    token=$(overlay 1 join-token --quiet)
    for ((host = 2; host <= $(host_count); host++)); do
        overlay "$host" join --token "$token" "$(host_addr 1)" >"$(host_dir "$host")/join.out"
    done
}

add_netns() {
    [[ ! -e /run/netns/$1 ]] || die "a network namespace $1 is there already, and is not this lab's"
    grep -qxF "$1" "$(state_dir)/netns" 2>/dev/null || echo "$1" >>"$(state_dir)/netns"
    ip netns add "$1"
}

# Makes the network namespace of host I, with a link to the lab's bridge.
add_host_netns() {
    local host=$1 mtu switch=$LAB-switch
    mtu=$(cat "$(state_dir)/mtu")
    add_netns "$(host_netns "$host")"
    # Created inside the lab's namespaces, so that the machine's own never sees it.
    ip -n "$switch" link add "h$host" mtu "$mtu" type veth \
        peer name eth0 mtu "$mtu" address "$(host_mac "$host")" netns "$(host_netns "$host")"
    ip -n "$switch" link set "h$host" master br0 up
    ip -n "$(host_netns "$host")" address add "$(host_addr "$host")/24" dev eth0
    ip -n "$(host_netns "$host")" link set eth0 up
}

# Starts the first process of host I. Neither its engine nor its daemon runs yet.
host_boot() {
    local host=$1 dir data tree deadline=$((SECONDS + LAB_TIMEOUT))
    dir=$(host_dir "$host") data=$(host_data "$host") tree=$(cat "$(state_dir)/tree")
    mkdir -p "$dir"/{run/lab,run/lock,run/netns,sys,etc-docker} "$data"
    mkdir -p /etc/docker
    # A file for each host to bind its own over.
    [[ -e /etc/machine-id ]] || : >/etc/machine-id
    [[ -z $tree ]] || mkdir -p "$tree$data"
    setsid nsenter --net="/run/netns/$(host_netns "$host")" \
        unshare --mount --propagation private --uts --pid --fork \
        "$LAB_DIR/host-init" "$dir" "$data" "host$host" "$tree" </dev/null >"$dir/init.log" 2>&1 &
    until host_init "$host" >/dev/null && in_host "$host" test -d /run/lab &&
        { [[ -z $tree ]] || [[ -e $dir/run/lab/tree ]]; }; do
        ((SECONDS < deadline)) || { log_tail "$dir/init.log"; die "host $host does not start (log: $dir/init.log)"; }
        sleep 0.05
    done
}

# Switches host I off and on: of its processes, links, rules and /run nothing is left, and its disk is. Start the daemon and the
# engine then.
host_reboot() {
    local host=$1 name tries
    name=$(host_netns "$host")
    host_kill "$host"
    # Its link goes with the namespace, which ends when the last of its processes is gone.
    ip netns delete "$name"
    for ((tries = 0; tries < 200; tries++)); do
        ip -n "$LAB-switch" link show "h$host" >/dev/null 2>&1 || break
        sleep 0.05
    done
    ip -n "$LAB-switch" link delete "h$host" 2>/dev/null || :
    rm -rf "$(host_dir "$host")/run"
    add_host_netns "$host"
    host_boot "$host"
}

# Kills the first process of host I, and with it, by the kernel, every process of the host.
host_kill() {
    local pid tries
    pid=$(host_init "$1") || return 0
    kill -KILL "$pid"
    for ((tries = 0; tries < 600; tries++)); do
        host_init "$1" >/dev/null || return 0
        sleep 0.05
    done
    die "host $1 of lab '$LAB' (pid $pid) does not end"
}

# Names of this lab's network namespaces that exist.
lab_namespaces() {
    local name
    while read -r name; do
        [[ ! -e /run/netns/$name ]] || echo "$name"
    done 2>/dev/null <"$(state_dir)/netns"
}

# Common arguments of the small scripts: an optional `--name NAME` first.
take_name() {
    TAKEN=0
    if [[ ${1:-} == --name ]]; then
        [[ $# -ge 2 ]] || die "--name needs a name"
        LAB=$2
        TAKEN=2
    fi
    check_name
    export LAB
}

# Rules of host I's link, at the ingress of eth0. There they hold for ARP and every other kind of packet, and the sender gets no
# error,
# unlike with rules at its own side.
wire() {
    local host=$1
    shift
    nsenter --net="/run/netns/$(host_netns "$host")" nft "$@"
}

wire_table() {
    wire "$1" list table netdev swift_overlay_lab >/dev/null 2>&1 && return
    wire "$1" -f - <<'END'
table netdev swift_overlay_lab {
    set cut { type ether_addr; }
    chain loss { }
    chain wire {
        type filter hook ingress device eth0 priority 0; policy accept;
        ether saddr @cut drop
        jump loss
    }
}
END
}

cut_wire() {
    wire_table "$1"
    wire "$1" add element netdev swift_overlay_lab cut "{ $(host_mac "$2") }"
}

mend_wire() {
    wire_table "$1"
    wire "$1" add element netdev swift_overlay_lab cut "{ $(host_mac "$2") }"
    wire "$1" delete element netdev swift_overlay_lab cut "{ $(host_mac "$2") }"
}

lose() {
    wire_table "$1"
    wire "$1" flush chain netdev swift_overlay_lab loss
    [[ $2 -eq 0 ]] || wire "$1" add rule netdev swift_overlay_lab loss numgen random mod 100 '<' "$2" drop
}
