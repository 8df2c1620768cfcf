#!/usr/bin/env bash
# Programs of Debian in containers on three hosts, and each beside it on a plain bridge of one of the engines, as the control:
# keepalived, HAProxy, nginx, etcd, and discovery by multicast.
# Usage: 85-programs.sh [CASE…]      CASE: keepalived, proxies, etcd or discovery; all of them unless given
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"
shopt -s extglob
install_missing keepalived haproxy nginx-light etcd-server etcd-client

# Seconds that a change may take until it is seen on every host. The times are printed, as other work may run on the machine.
bound=${BOUND:-8}
cases=("$@")
((${#cases[@]} > 0)) || cases=(discovery etcd keepalived proxies)

lab_up 3

# A folder with the programs and their libraries, on every host, that containers mount. It is the same for an engine with a root of
# its own, and no container gets a copy of it.
programs=$DATA_ROOT/$LAB/programs
mkdir -p "$programs"/{usr,lib,lib64,conf}
take() {
    local files=()
    mapfile -t files < <({ printf '%s\n' "$@"; ldd "$@" | grep -o '/[^ :]*'; } | sort -u)
    cp --parents --dereference --update "${files[@]}" "$programs"
}
take /usr/sbin/keepalived /usr/sbin/haproxy /usr/sbin/nginx /usr/bin/etcd /usr/bin/etcdctl
musl-gcc -D_GNU_SOURCE -O2 -static -o "$programs/usr/bin/discover" "$LAB_DIR/programs/discover.c"

cat >"$programs/conf/haproxy.cfg" <<'CONF'
global
    log stdout format raw local0 notice
resolvers docker
    nameserver dns 127.0.0.11:53
    resolve_retries 3
    timeout resolve 500ms
    timeout retry 500ms
    hold valid 500ms
    hold obsolete 500ms
    accepted_payload_size 8192
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
frontend a
    bind 127.0.0.1:8001
    default_backend a
backend a
    server-template web 6 web:80 check inter 500ms resolvers docker init-addr none
frontend srv
    bind 127.0.0.1:8002
    default_backend srv
backend srv
    server-template web 6 _80._tcp.web check inter 500ms resolvers docker init-addr none
CONF
cat >"$programs/conf/nginx.conf" <<'CONF'
user root;
daemon off;
pid /tmp/nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    resolver 127.0.0.11 valid=1s;
    server {
        listen 127.0.0.1:8003;
        location / {
            set $backend web;
            proxy_connect_timeout 1s;
            proxy_pass http://$backend;
        }
    }
}
CONF
# balancer NAME SUBNET PRIORITY OWN PEER: four virtual addresses, each found out by another way of VRRP.
balancer() {
    local name=$1 subnet=$2 priority=$3 own=$4 peer=$5 way number=100
    printf 'global_defs {\n  router_id %s\n  vrrp_version 3\n  vrrp_garp_master_delay 1\n}\n' "$name"
    for way in multicast unicast multicast-vmac unicast-vmac; do
        number=$((number + 1))
        printf 'vrrp_instance %s {\n  state BACKUP\n  interface eth0\n  virtual_router_id %s\n' "$way" "$number"
        printf '  priority %s\n  advert_int 0.3\n' "$priority"
        if [[ $way == *vmac ]]; then printf '  use_vmac vrrp%s\n' "$number"; fi
        if [[ $way == unicast-vmac ]]; then printf '  vmac_xmit_base\n'; fi
        if [[ $way == unicast* ]]; then
            printf '  unicast_src_ip %s\n  unicast_peer {\n    %s\n  }\n' "$subnet.$own" "$subnet.$peer"
        fi
        printf '  virtual_ipaddress {\n    %s/24\n  }\n}\n' "$subnet.$number"
    done
}

# Each place has the hosts of its first, second and third container, its network, and the first three bytes of its subnet.
declare -A hosts=([ours]="1 2 3" [plain]="1 1 1") network=([ours]=wide [plain]=plain) subnet=([ours]=10.91.0 [plain]=10.92.0)
must docker 1 network create -d swift-overlay --ipam-driver swift-overlay --subnet 10.91.0.0/24 --ipv6 --subnet fd00:91::/64 wide
must docker 1 network create --subnet 10.92.0.0/24 --ipv6 --subnet fd00:92::/64 plain
must docker 1 network create -d swift-overlay --ipam-driver swift-overlay --internal wide-inner
must docker 1 network create --internal plain-inner
for host in 2 3; do for name in wide wide-inner; do gets "$host" "$name"; done; done
balancer first 10.91.0 150 11 12 >"$programs/conf/ours-1.conf"
balancer second 10.91.0 100 12 11 >"$programs/conf/ours-2.conf"
balancer first 10.92.0 150 11 12 >"$programs/conf/plain-1.conf"
balancer second 10.92.0 100 12 11 >"$programs/conf/plain-2.conf"
# keepalived takes a file that others may write or run for a script.
chmod 644 "$programs"/conf/*
for host in 1 2 3; do must cp -al "$programs" "$(host_data "$host")/programs"; done

# host_of PLACE NUMBER
host_of() { cut -d ' ' -f "$2" <<<"${hosts[$1]}"; }
# run_in PLACE NUMBER NAME OPTION… -- COMMAND…: a container with the programs on the place's network, or on that of `--network`.
run_in() {
    local place=$1 host name=$3 folder options=() code=0
    host=$(host_of "$place" "$2")
    folder=$(host_data "$host")/programs
    shift 3
    while [[ $1 != -- ]]; do options+=("$1") && shift; done
    shift
    [[ " ${options[*]} " == *" --network "* ]] || options+=(--network "${network[$place]}")
    OUT=$(docker "$host" run -d --name "$name" --hostname "$name" --stop-timeout 1 -v "$folder/usr:/usr:ro" -v "$folder/lib:/lib:ro" \
        -v "$folder/lib64:/lib64:ro" -v "$folder/conf:/conf:ro" "${options[@]}" busybox:local "$@" 2>&1) || code=$?
    [[ $code -eq 0 ]] || fail "$name on host $host: $OUT"
}
logs() { docker "$1" logs "$2" 2>&1 | tail -n 8 | sed "s/^/    /"; }
has_failed() { grep -q "^FAIL  $1" "$(state_dir)/verdicts"; }
milliseconds() { echo $((($(date +%s%N) - $1) / 1000000)); }
# space_of I NAME: the container's network namespace, as a file that the machine reaches.
space_of() { echo "/proc/$(host_init "$1")/root/proc/$(pid_of "$1" "$2")/ns/net"; }
# remove PLACE NAME…: all of them at once.
remove() {
    local place=$1 host
    shift
    for host in $(tr ' ' '\n' <<<"${hosts[$place]}" | sort -u); do docker "$host" rm -f "$@" >/dev/null 2>&1 || : & done
    wait_jobs
}
# Waits for the jobs of this shell but for what ends with the scenario.
wait_jobs() { local job; for job in $(jobs -p); do wait "$job" || :; done; }

# discovery PLACE: everybody hears everybody, of three that start at one moment.
discovery() {
    local place=$1 group port number heard here asked
    for number in 1 2 3; do run_in "$place" "$number" "$place-node$number" -- sleep 1000000; done
    for group in 239.1.2.3 224.0.0.251 255.255.255.255 ff05::1:3; do
        port=$((20000 + RANDOM % 1000))
        for number in 1 2 3; do
            docker "$(host_of "$place" "$number")" exec "$place-node$number" discover "$group" "$port" "node$number" 3 \
                >"$(state_dir)/heard$number" 2>&1 &
        done
        wait_jobs
        heard=
        for number in 1 2 3; do heard+="node$number: $(sort "$(state_dir)/heard$number" | paste -sd ' '); "; done
        here="node1: node2 node3; node2: node1 node3; node3: node1 node2; "
        asked=FAIL
        # Where a route of the container leads it, that is, which Limits say.
        [[ $group != 255.255.255.255 || $place == plain ]] || asked=NOTE
        if [[ $heard == "$here" ]]; then asked=PASS; fi
        verdict "$asked" "$place: discovery by $group" "heard by ${heard%; }"
    done
    remove "$place" "$place"-node{1,2,3}
}

# etcd PLACE: three members that start at one moment, and look each other and themselves up at once; their names are aliases.
etcd() {
    local place=$1 kind net number began tokens healthy ended value cluster
    for kind in name alias alias.network; do
        net=${network[$place]}
        [[ $kind == name ]] || net+=-inner
        cluster=
        member() {
            case $kind in
            name) echo "$place-etcd$1" ;;
            alias) echo "member$1" ;;
            *) echo "member$1.$net" ;;
            esac
        }
        for number in 1 2 3; do cluster+="e$number=http://$(member "$number"):2380,"; done
        began=$(date +%s%N)
        for number in 1 2 3; do
            run_in "$place" "$number" "$place-etcd$number" --network "$net" --network-alias "member$number" -- \
                etcd --name "e$number" --data-dir /tmp/etcd --initial-cluster "${cluster%,}" --initial-cluster-token "$kind" \
                --initial-advertise-peer-urls "http://$(member "$number"):2380" --listen-peer-urls http://0.0.0.0:2380 \
                --advertise-client-urls "http://$(member "$number"):2379" --listen-client-urls http://0.0.0.0:2379 &
        done
        wait_jobs
        healthy=0
        until [[ $healthy == 3 ]] || (($(milliseconds "$began") > 4000 * bound)); do
            healthy=$(docker "$(host_of "$place" 1)" exec -e ETCDCTL_API=3 "$place-etcd1" etcdctl --endpoints http://127.0.0.1:2379 \
                endpoint health --cluster 2>&1 | grep -c "is healthy") || :
            sleep 0.2
        done
        tokens="$healthy of 3 healthy $(milliseconds "$began") ms after the start"
        ended=0 value=
        for number in 1 2 3; do
            [[ $(docker "$(host_of "$place" "$number")" inspect -f '{{.State.Running}}' "$place-etcd$number") == true ]] ||
                ended=$((ended + 1))
        done
        docker "$(host_of "$place" 1)" exec -e ETCDCTL_API=3 "$place-etcd1" etcdctl put key "$kind" >/dev/null 2>&1 || :
        value=$(docker "$(host_of "$place" 3)" exec -e ETCDCTL_API=3 "$place-etcd3" etcdctl get --print-value-only key 2>&1) || :
        if [[ $healthy == 3 && $value == "$kind" ]]; then
            verdict PASS "$place: etcd by $kind" "$tokens"
        else
            verdict FAIL "$place: etcd by $kind" "$tokens, $ended exited, the third has '$(tail -n 1 <<<"$value")' as value"
            for number in 1 2 3; do logs "$(host_of "$place" "$number")" "$place-etcd$number"; done
        fi
        remove "$place" "$place"-etcd{1,2,3}
    done
}

# reached NAMESPACE ADDRESS NAME: prints after how many milliseconds that name answers at the address; `never` after the bound.
reached() {
    local began
    began=$(date +%s%N)
    until [[ $(nsenter --net="$1" curl -s --max-time 0.3 "http://$2/") == "$3" ]]; do
        if (($(milliseconds "$began") > 1000 * bound)); then echo never && return; fi
        sleep 0.05
    done
    milliseconds "$began"
}
# taken_over PLACE WHAT NAME: that balancer answers at every virtual address, for clients on every host.
taken_over() {
    local place=$1 what=$2 name=$3 way number client times file
    file=$(state_dir)/reached
    for number in 1 2 3 4; do
        for client in 1 2 3; do
            # shellcheck disable=SC2153 # set by the caller
            reached "${spaces[client - 1]}" "${subnet[$place]}.$((100 + number))" "$name" >"$file-$number-$client" &
        done
    done
    wait_jobs
    number=0
    for way in multicast unicast multicast-vmac unicast-vmac; do
        number=$((number + 1)) times=
        for client in 1 2 3; do times+="$(<"$file-$number-$client") "; done
        verdict "$([[ $times == *never* ]] && echo FAIL || echo PASS)" "$place: keepalived $way: $what" \
            "${times% } ms for the clients on host ${hosts[$place]// /, }"
    done
}
# keepalived PLACE: the master is killed, comes back, and ends in order.
keepalived() {
    local place=$1 number host spaces=()
    for number in 1 2 3; do
        host=$(host_of "$place" "$number")
        run_in "$place" "$number" "$place-client$number" -- sleep 1000000
        spaces+=("$(space_of "$host" "$place-client$number")")
    done
    for number in 1 2; do
        # It makes links, and sets what it needs under /proc/sys.
        run_in "$place" "$number" "$place-lb$number" --cap-add NET_ADMIN --cap-add NET_RAW --cap-add NET_BROADCAST \
            --security-opt systempaths=unconfined --ip "${subnet[$place]}.1$number" -- \
            sh -c "hostname >/tmp/index.html; httpd -h /tmp; rm -f /tmp/*.pid; exec keepalived --dont-fork --log-console \
            --use-file=/conf/$place-$number.conf --pid=/tmp/k.pid --vrrp_pid=/tmp/v.pid --checkers_pid=/tmp/c.pid"
    done
    taken_over "$place" "from the start" "$place-lb1"
    must docker "$(host_of "$place" 1)" kill "$place-lb1"
    taken_over "$place" "the master is killed" "$place-lb2"
    must docker "$(host_of "$place" 1)" start "$place-lb1"
    taken_over "$place" "it comes back" "$place-lb1"
    must docker "$(host_of "$place" 1)" stop -t 5 "$place-lb1"
    taken_over "$place" "it is stopped" "$place-lb2"
    ! has_failed "$place: keepalived" || for number in 1 2; do logs "$(host_of "$place" "$number")" "$place-lb$number"; done
    remove "$place" "$place"-{lb1,lb2,client1,client2,client3}
}

# asked NAMESPACE PORT COUNT: how often each backend, or which error, answered.
asked() {
    local try
    for ((try = 0; try < $3; try++)); do
        nsenter --net="$1" curl -s --max-time 2 -w '%{http_code}\n' "http://127.0.0.1:$2/" | paste -sd ' ' | sed 's/^\(.*\) 200$/\1/; s/.* //'
    done | sort | uniq -c | awk '{print $2 "=" $1}' | paste -sd ' '
}
# balanced PLACE WHAT BACKEND…: by each way, every backend answers, and nothing else.
balanced() {
    local place=$1 what=$2 way port began answers names
    shift 2
    names=$(printf '%s\n' "$@" | sort | paste -sd ' ')
    for way in "8001 HAProxy, A records" "8002 HAProxy, SRV records" "8003 nginx, resolver"; do
        port=${way%% *} began=$(date +%s%N)
        # Not waited for where it never comes.
        until answers=$(asked "$space" "$port" 10) && [[ ${answers//=*([0-9])/} == "$names" ]] ||
            [[ $place == plain && $way == *SRV* ]]; do
            (($(milliseconds "$began") < 1000 * bound)) || break
        done
        if [[ ${answers//=*([0-9])/} == "$names" ]]; then
            verdict PASS "$place: ${way#* }: $what" "after $(milliseconds "$began") ms, of 40 requests: $(asked "$space" "$port" 40)"
        elif [[ $place == plain && $way == *SRV* ]]; then
            verdict NOTE "$place: ${way#* }: $what" "Docker has no such records: $answers"
        else
            verdict FAIL "$place: ${way#* }: $what" "after $(milliseconds "$began") ms, of 10 requests: $answers"
        fi
    done
}
# backend PLACE NUMBER NAME
backend() {
    run_in "$1" "$2" "$3" --network-alias web --expose 80 -- sh -c 'hostname >/tmp/index.html; exec httpd -f -h /tmp'
}
# proxies PLACE: backends that come and go are found.
proxies() {
    local place=$1 host space
    host=$(host_of "$place" 1)
    run_in "$place" 1 "$place-proxy" -- \
        sh -c 'nginx -e stderr -c /conf/nginx.conf & sleep 0.5; exec haproxy -db -f /conf/haproxy.cfg'
    space=$(space_of "$host" "$place-proxy")
    backend "$place" 2 "$place-one"
    backend "$place" 3 "$place-two"
    balanced "$place" "two backends" "$place-one" "$place-two"
    must docker "$(host_of "$place" 2)" rm -f "$place-one"
    backend "$place" 1 "$place-three"
    balanced "$place" "one goes, one comes" "$place-three" "$place-two"
    ! has_failed "$place: [Hn]" || logs "$host" "$place-proxy"
    remove "$place" "$place"-{proxy,one,two,three}
}

for name in "${cases[@]}"; do
    for place in plain ours; do "$name" "$place"; done
done
all_passed
