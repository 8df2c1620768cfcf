#!/usr/bin/env bash
# Names: which container is found by which name, from where, and which questions go to Docker.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

lab_up 2

echo "# a resolver on the wire between the hosts, which the engines' containers are to use for all that is not ours"
upstream=10.99.0.1
switch=$(awk 'NR == 1' "$(state_dir)/netns")
must ip -n "$switch" address add "$upstream/24" dev br0
# It is authoritative for `search.example`, so it answers NXDOMAIN for names missing there.
nsenter --net="/run/netns/$switch" dnsmasq --keep-in-foreground --no-resolv --no-hosts --bind-interfaces --conf-file=/dev/null \
    --listen-address="$upstream" --address=/outside.example/192.0.2.77 --host-record=host.search.example,192.0.2.78 \
    --local=/search.example/ --pid-file= >"$(state_dir)/dnsmasq.log" 2>&1 &
ends_with+=($!)

# use_upstream I: configures the host with it, before any container starts.
use_upstream() {
    local host=$1 enter=()
    [[ ! -e $(host_dir "$host")/run/lab/tree ]] || enter=(nsenter --target "$(cat "$(host_dir "$host")/run/lab/tree")" --mount --)
    # It may be a link into /run, which is the host's own.
    # shellcheck disable=SC2016 # for the inner shell
    must in_host "$host" "${enter[@]}" bash -euc '
        echo "nameserver $1" >/run/lab/resolv.conf
        file=$(readlink -m /etc/resolv.conf)
        mkdir -p "${file%/*}"
        [[ -e $file ]] || : >"$file"
        mount --bind /run/lab/resolv.conf "$file"' use "$upstream"
}
for host in 1 2; do use_upstream "$host"; done

must docker 1 network create -d swift-overlay --ipam-driver swift-overlay --ipv6 front-net
must docker 1 network create -d swift-overlay --ipam-driver swift-overlay back-net
must docker 1 network create -d swift-overlay --ipam-driver swift-overlay --internal inner-net
for network in front-net back-net inner-net; do gets 2 "$network"; done
code_is() {
    local expected=$1
    shift
    OUT=$(status_of "$@")
    echo "$OUT"
    [[ $OUT == "$expected" ]]
}

echo "# one alias on two hosts is one set, in an order that varies"
start 1 web1 --network front-net --network-alias web --expose 80/tcp --dns "$upstream" --dns-search search.example
# The host name is one of the names, too, and does not follow `docker rename`.
start 2 web2 --network front-net --network-alias web --add-host pinned:192.0.2.79 --hostname box2
w1=$(address_of 1 web1 front-net) w2=$(address_of 2 web2 front-net)
for host in 1 2; do
    eventually 3 finds "$host" "web$host" web "$w1" "$w2"
    eventually 3 finds "$host" "web$host" web.front-net "$w1" "$w2"
done
# 40 answers that begin with the same address by chance are improbable.
for try in +noedns +edns +tcp; do
    seen=$(for _ in {1..40}; do in_container 1 web1 dig @127.0.0.11 +short "$try" web | head -n 1; done | sort | uniq -c)
    echo "$try: $(xargs <<<"$seen")"
    same "addresses that came first in 40 answers" 2 "$(wc -l <<<"$seen")"
done
must docker 1 exec web1 ping -c 1 -W 1 WEB2

echo "# every name that a container has, and both kinds of record"
short=$(docker 2 inspect -f '{{.Id}}' web2 | cut -c 1-12)
for name in web2 web2.front-net box2 "$short" WEB2.Front-Net; do eventually 3 finds 1 web1 "$name" "$w2"; done
v6=$(docker 2 inspect -f '{{(index .NetworkSettings.Networks "front-net").GlobalIPv6Address}}' web2)
asks 1 web1 -t AAAA web2
same "AAAA" "$v6" "$OUT"
asks 1 web1 -x "$w2"
same "PTR" "web2.front-net." "$OUT"
asks 1 web1 -x "$v6"
same "PTR of IPv6" "web2.front-net." "$OUT"
asks 2 web2 -t SRV _80._tcp.web1
same "SRV" "0 1 80 web1.front-net." "$OUT"
asks 2 web2 +tcp web1
same "by TCP" "$w1" "$OUT"
asks 2 web2 +noedns web1
same "without EDNS" "$w1" "$OUT"
# The question is echoed as it was asked, as some resolvers check that.
must in_container 1 web1 dig @127.0.0.11 +noall +question wEb2
prints "wEb2."
same "TTL" 2 "$(in_container 1 web1 dig @127.0.0.11 +noall +answer web2 | awk '{print $2}')"
same "another type of a name" "NOERROR 0" "$(status_of 1 web1 -t MX web2)"
same "a name that is not there" "NXDOMAIN 0" "$(status_of 1 web1 nobody.front-net)"
same "a port that is not there" "NXDOMAIN 0" "$(status_of 2 web2 -t SRV _81._tcp.web1.front-net)"
same "an address that nobody has" "NXDOMAIN 0" "$(status_of 1 web1 -x "${w1%.*}.250")"

echo "# aliases that the user gave, and tasks of a Compose service, whose name is one"
start 1 app --network back-net --network-alias pay --hostname frontend --label com.docker.compose.project=shop \
    --label com.docker.compose.service=pay
start 2 task --network back-net --label com.docker.compose.service=bill
start 2 other --network back-net
app=$(address_of 1 app back-net) task=$(address_of 2 task back-net)
for name in app frontend pay tasks.pay pay.back-net; do eventually 3 finds 2 other "$name" "$app"; done
eventually 3 finds 1 app task "$task"
for name in bill tasks.bill; do
    asks 1 app "$name"
    same "a name that only a label has: $name" "" "$OUT"
done
# On a network without IPv6 the name exists, but has no AAAA record. The SOA record says how long that may be cached.
for question in "-t AAAA task" "nobody.back-net"; do
    # shellcheck disable=SC2086 # several words
    must in_container 1 app dig @127.0.0.11 +noall +comments +authority $question
    case $question in -t*) prints "status: NOERROR" ;; *) prints "status: NXDOMAIN" ;; esac
    prints "ANSWER: 0"
    prints "SOA"
done
must docker 1 exec app ping -c 1 -W 1 task

echo "# names that are not ours are answered as without us"
must docker 1 network create plain
start 1 here --network plain --dns "$upstream" --dns-search search.example --add-host pinned:192.0.2.79
start 1 there --network plain
eventually 5 finds 1 here outside.example 192.0.2.77
# seen I NAME QUESTION…: everything that a program can see of an answer.
seen() {
    status_of "$@"
    local host=$1 name=$2
    shift 2
    in_container "$host" "$name" dig @127.0.0.11 +time=3 +tries=1 +noall +answer "$@" | sort
}
for question in outside.example "+tcp outside.example" "+noedns outside.example" "-t AAAA outside.example" "-t MX outside.example" \
    host.search.example missing.search.example "+tcp missing.search.example" elsewhere.invalid "-x 192.0.2.77" \
    "-t TXT host.search.example"; do
    # shellcheck disable=SC2086 # several words
    same "$question" "$(seen 1 here $question)" "$(seen 1 web1 $question)"
done
same "a name of the Internet" 192.0.2.77 "$(in_container 1 web1 dig @127.0.0.11 +short outside.example)"
same "by the host's resolver" 192.0.2.77 "$(in_container 2 web2 dig @127.0.0.11 +short outside.example)"
for name in here web1; do
    must docker 1 exec "$name" nslookup -type=a host
    prints 192.0.2.78
    same "resolv.conf of $name" "nameserver 127.0.0.11 options ndots:0 search search.example" \
        "$(docker 1 exec "$name" grep -v '^#' /etc/resolv.conf | sort | xargs)"
done
for pinned in "1 here" "2 web2"; do
    read -r host name <<<"$pinned"
    # It does not answer; what counts is that it is asked.
    echo "\$ docker $host exec $name ping -c 1 -W 1 pinned"
    OUT=$(docker "$host" exec "$name" ping -c 1 -W 1 pinned 2>&1) || :
    echo "$OUT"
    prints "PING pinned (192.0.2.79)"
done
must docker 1 network connect plain web1
eventually 3 finds 1 web1 there "$(address_of 1 there plain)"
finds 1 there web1 "$(address_of 1 web1 plain)" || fail "Docker's own answers are not as they were: $OUT"

echo "# a container on none of our networks finds none of ours"
for name in web2 web2.front-net app "$short"; do
    asks 1 here "$name"
    same "from outside: $name" "" "$OUT"
done
same "the rules in it" "" "$(in_container 1 here nft list tables ip | grep swift_overlay || :)"
must in_container 1 web1 nft list tables ip
prints swift_overlay_dns

echo "# networks do not mix"
start 1 twin --network back-net
start 2 twin --network front-net
t1=$(address_of 1 twin back-net) t2=$(address_of 2 twin front-net)
eventually 3 finds 2 other twin "$t1"
eventually 3 finds 1 web1 twin "$t2"
for name in web1 web web1.front-net; do
    asks 2 other "$name"
    same "a name of another network: $name" "" "$OUT"
done
asks 2 other -x "$w1"
same "an address of another network" "" "$OUT"

echo "# a container on both has the names of both, and of one again when it leaves"
must docker 2 network connect front-net other
eventually 3 finds 2 other web1 "$w1"
eventually 3 finds 2 other twin.front-net "$t2"
eventually 3 finds 2 other twin.back-net "$t1"
eventually 3 finds 2 other app "$app"
must docker 2 network disconnect front-net other
eventually 3 finds 2 other twin "$t1"
asks 2 other web1
same "a name of a network that it left" "" "$OUT"

echo "# a renamed container has only its new name, on both hosts"
must docker 2 rename web2 shop
for from in "1 web1" "2 twin"; do
    read -r host name <<<"$from"
    eventually 3 finds "$host" "$name" shop "$w2"
    eventually 3 code_is "NXDOMAIN 0" "$host" "$name" web2.front-net
    # The alias and the host name are other names, and stay.
    eventually 3 finds "$host" "$name" box2 "$w2"
    eventually 3 finds "$host" "$name" web "$w1" "$w2"
done
eventually 3 finds 1 web1 "-x$w2" shop.front-net.

echo "# a name without the engine's API"
must docker 1 network connect --driver-opt name=given back-net here
eventually 3 finds 2 other given "$(address_of 1 here back-net)"
must docker 1 network disconnect back-net here
eventually 3 code_is "NXDOMAIN 0" 2 other given.back-net

echo "# no question leaves an internal network"
start 1 in1 --network inner-net --dns "$upstream"
start 1 in3 --network inner-net
start 2 in2 --network inner-net
start 1 out1 --network back-net
eventually 3 finds 1 in1 in2 "$(address_of 2 in2 inner-net)"
eventually 3 finds 1 in3 in2 "$(address_of 2 in2 inner-net)"
# capture_start, capture_end: captures questions that leave host 1 in `packets`.
capture_start() {
    # shellcheck disable=SC2016 # for the inner shell
    in_host 1 bash -c 'tcpdump -i eth0 -n -l --immediate-mode dst port 53 & echo $! >/run/lab/tcpdump; wait' \
        >"$(state_dir)/packets" 2>"$(state_dir)/tcpdump.log" &
    capture=$!
    eventually 5 grep -q "listening on" "$(state_dir)/tcpdump.log"
}
capture_end() {
    # Packets that are on their way must be captured, too.
    sleep 0.5
    # shellcheck disable=SC2016 # for the inner shell
    must in_host 1 bash -c 'kill -INT "$(cat /run/lab/tcpdump)"'
    wait "$capture" || :
    must cat "$(state_dir)/packets"
    # Ends with an empty line.
    packets=$(grep -c "> .*\.53:" "$(state_dir)/packets") || :
}
capture_start
for name in in1 in3; do
    for try in +edns +tcp; do
        same "$name: a name outside" "REFUSED 0" "$(status_of 1 "$name" "$try" "name$RANDOM.outside.example")"
        same "$name: an address outside" "REFUSED 0" "$(status_of 1 "$name" "$try" -x 192.0.2.77)"
        same "$name: a single word" "NXDOMAIN 0" "$(status_of 1 "$name" "$try" "nobody$RANDOM")"
    done
done
# Nor do questions that only we can answer leave from anywhere else.
same "a name below our network's" "NXDOMAIN 0" "$(status_of 1 out1 nobody.back-net)"
same "an address of our subnet" "NXDOMAIN 0" "$(status_of 1 web1 -x "${w1%.*}.251")"
capture_end
same "packets" 0 "$packets"
# The same questions do leave from where that is allowed; otherwise the capture would prove nothing.
capture_start
for name in web1 out1; do same "$name: a name outside" "NOERROR 1" "$(status_of 1 "$name" "name$RANDOM.outside.example")"; done
capture_end
((packets >= 2)) || fail "the capture sees nothing of containers that may ask"

echo "# names go with the container, everywhere"
must docker 2 stop shop
for from in "1 web1" "2 twin"; do
    read -r host name <<<"$from"
    eventually 2 code_is "NXDOMAIN 0" "$host" "$name" shop.front-net
    eventually 2 finds "$host" "$name" web "$w1"
    eventually 2 code_is "NXDOMAIN 0" "$host" "$name" -x "$w2"
done

echo "# Docker answers while the daemon is down, and we do when it is back"
must daemon_stop 1 KILL
same "the rules" "" "$(in_container 1 web1 nft list tables ip | grep swift_overlay || :)"
asks 1 web1 outside.example
same "a name of the Internet" 192.0.2.77 "$OUT"
asks 1 web1 there
same "a name that Docker knows" "$(address_of 1 there plain)" "$OUT"
asks 1 app twin
same "a name of this host" "$t1" "$OUT"
# The other host works without this one's daemon, and still knows the containers on it.
finds 2 twin web "$w1" || fail "names of a host whose daemon is away are gone: $OUT"
began=$(date +%s%N)
must daemon_start 1
eventually 10 finds 1 web1 twin "$t2"
echo "names of the other host are back $((($(date +%s%N) - began) / 1000000)) ms after the daemon was started"
# One sandbox after another gets them.
has_rules() { in_container 1 "$1" nft list tables ip | grep swift_overlay_dns; }
for from in web1 app; do eventually 5 has_rules "$from"; done
eventually 10 no_problems 1
eventually 10 no_problems 2
