#!/usr/bin/env bash
# Resolvers of common programs: glibc, musl, busybox, Go, Python and dig, with names of one, 40 and 300 addresses.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

# Number of look-ups of each resolver that are timed. A stall is a look-up of over 100 ms. On a machine that others use, too, only
# one
# of over a second is a failure: no resolver repeats a question sooner, so a lost question or answer shows.
lookups=${LOOKUPS:-25000}
resolvers=$LAB_DIR/resolvers
lab_up 2
# A host has a /run of its own.
tools=$(host_dir 1)/run/tools
mkdir -p "$tools"
must gcc -O2 -o "$tools/glibc" "$resolvers/lookup.c"
must musl-gcc -O2 -static -o "$tools/musl" "$resolvers/lookup.c"
must env CGO_ENABLED=0 GOCACHE="$tools/cache" GOFLAGS=-mod=mod GO111MODULE=off go build -o "$tools/go" "$resolvers/lookup.go"

must docker 1 network create -d swift-overlay --ipam-driver swift-overlay --subnet 10.90.0.0/20 shop-net
gets 2 shop-net
start 1 asks --network shop-net
start 2 web --network shop-net
web=$(address_of 2 web shop-net)
pool=$(overlay 2 network inspect shop-net | jq -r '.subnets[0].pool')
network=$(docker 2 network inspect -f '{{.Id}}' shop-net)
for count in 40 300; do
    must in_host 2 /usr/bin/python3 "$resolvers/announce.py" /run/docker/plugins/swift-overlay.sock "$pool" "$network" \
        "many$count" "$count"
    sort <<<"$OUT" >"$(state_dir)/many$count"
done
for tool in musl go; do must docker 1 cp "$tools/$tool" "asks:/$tool"; done

# resolve TOOL NAME [COUNT]: static programs run in the container, the machine's own with the container's network and resolv.conf.
printf 'nameserver 127.0.0.11\noptions ndots:0\n' >"$tools/resolv.conf"
resolve() {
    local tool=$1
    shift
    case $tool in
        musl | go) docker 1 exec asks "/$tool" "$@" ;;
        busybox) docker 1 exec asks nslookup "$1" | sed -n '1,3d; s/^Address: //p' | grep . ;;
        glibc) from_machine /run/tools/glibc "$@" ;;
        python) from_machine /usr/bin/python3 "$resolvers/lookup.py" "$@" ;;
        dig*)
            # shellcheck disable=SC2086 # several options
            in_container 1 asks dig @127.0.0.11 ${tool#dig} +short "$1" | grep .
            ;;
    esac
}
from_machine() {
    # shellcheck disable=SC2016 # for the inner shell
    in_container 1 asks unshare --mount bash -c 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"' in \
        /run/tools/resolv.conf "$@"
}
found() { resolve "$@" | sort; }

eventually 5 found dig many300
all=(glibc musl busybox go python dig 'dig +edns=0' 'dig +noedns +ignore' 'dig +tcp' 'dig +noedns +tcp')
for tool in "${all[@]}"; do
    echo "# $tool"
    same "$tool: one address, and no IPv6" "$web" "$(found "$tool" web)"
    same "$tool: with the network's name" "$web" "$(found "$tool" web.shop-net)"
    for count in 40 300; do
        answer=$(found "$tool" "many$count")
        # A resolver without EDNS and TCP gets the addresses that fit, and none of another name.
        same "$tool: addresses of nobody" "" "$(comm -23 <(sort -u <<<"$answer") "$(state_dir)/many$count")"
        least=$count
        case $tool in busybox | musl | 'dig +noedns +ignore' | glibc | python | go) least=25 ;; esac
        [[ $(sort -u <<<"$answer" | wc -l) -ge $least ]] || fail "$tool: $(wc -l <<<"$answer") of $count addresses"
    done
    # Answered at once by us: names below a network's name are not forwarded, or it would take long, as the lab's hosts have no
    # resolver.
    began=$SECONDS
    refused resolve "$tool" nobody.shop-net
    ((SECONDS - began <= 3)) || fail "$tool: that took $((SECONDS - began)) s"
done

echo "# $lookups look-ups each"
began=$SECONDS
for tool in glibc musl go python; do
    must resolve "$tool" web "$lookups"
    read -r failures longest stalls which <<<"$OUT"
    [[ $failures =~ ^[0-9]+$ && $longest =~ ^[0-9]+\.[0-9]$ && $stalls =~ ^[0-9]+$ ]] || fail "$tool: no figures"
    verdict=PASS
    [[ $stalls == 0 ]] || verdict=FAIL
    echo "$verdict  $tool: $stalls look-ups over 100 ms; the longest, number $which, took $longest ms"
    same "$tool: failures" 0 "$failures"
    [[ ${longest%.*} -lt 1000 ]] || fail "$tool: a look-up of $longest ms"
done
echo "$((4 * lookups)) look-ups in $((SECONDS - began)) s"
