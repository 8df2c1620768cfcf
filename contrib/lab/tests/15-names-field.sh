#!/usr/bin/env bash
# Names as users of Docker's own bridge know them: each case on our network, and beside it on a plain bridge of the same engine.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

# Number of containers that look themselves up.
rounds=${ROUNDS:-5}
lab_up 2
ours() { must docker 1 network create -d swift-overlay --ipam-driver swift-overlay "$@" && gets 2 "${!#}"; }

echo "# 17 to 40 aliases, host name and short id all resolve, from both hosts"
ours crowd-net
must docker 1 network create crowd-plain
aliases=()
for number in {1..40}; do aliases+=(--network-alias "an-alias-of-thirty-four-bytes-${number}-xxxx"); done
start 1 crowd --network crowd-net "${aliases[@]}"
start 1 crowd-too --network crowd-plain "${aliases[@]}"
start 2 asks --network crowd-net
start 1 asks-too --network crowd-plain
crowd=$(address_of 1 crowd crowd-net)
short=$(docker 1 inspect -f '{{.Id}}' crowd | cut -c 1-12)
for name in an-alias-of-thirty-four-bytes-{1,13,17,40}-xxxx crowd "$short"; do eventually 3 finds 2 asks "$name" "$crowd"; done
eventually 3 finds 1 asks-too an-alias-of-thirty-four-bytes-40-xxxx "$(address_of 1 crowd-too crowd-plain)"

echo "# the gateway's address answers the network's names, and no others"
gateway=$(overlay 2 network inspect crowd-net | jq -r '.subnets[0].gateway')
at_gateway() {
    OUT=$(in_container 2 asks dig "@$gateway" +time=3 +tries=1 +short "$@" 2>&1) || OUT="failed: $OUT"
    echo "dig @$gateway $*: $OUT"
}
found_at_gateway() { at_gateway "$1" crowd && [[ $OUT == "$crowd" ]]; }
for try in +notcp +tcp; do eventually 3 found_at_gateway "$try"; done
at_gateway client
same "a name that is not there" "" "$OUT"

echo "# beyond the bound, status says which are not answered"
aliases=()
for number in {1..1100}; do aliases+=(--network-alias "alias-$number"); done
start 1 mass --network crowd-net "${aliases[@]}"
eventually 5 problem 1 "container mass has"
eventually 5 finds 2 asks alias-1000 "$(address_of 1 mass crowd-net)"
must docker 1 rm -f mass
eventually 5 no_problems 1

echo "# labels give no names: of an image, of a container of an earlier Compose project"
ours shop-net
start 1 pay --network shop-net --network-alias till
must docker 1 commit --change 'LABEL com.docker.compose.service=till com.docker.swarm.service.name=till' pay till:image
start 2 client --network shop-net
must docker 1 run -d --name thief --network shop-net --stop-timeout 1 till:image sleep 1000000
eventually 3 finds 2 client thief "$(address_of 1 thief shop-net)"
for name in till till.shop-net; do
    finds 2 client "$name" "$(address_of 1 pay shop-net)" || fail "an image's label answers for $name: $OUT"
done
same "tasks of a label" "NXDOMAIN 0" "$(status_of 2 client tasks.till.shop-net)"

echo "# a container on a plain network and on ours: the first by name has its name, as with two plain ones"
ours shared
must docker 1 network create aproj_default
must docker 1 network create shared-plain
must docker 1 network create zproj_default
start 2 stranger --network shared --network-alias db
stranger=$(address_of 2 stranger shared)
for project in aproj zproj; do start 1 "$project-db" --network "${project}_default" --network-alias db; done
start 1 stranger-too --network shared-plain --network-alias db
for project in aproj zproj; do
    for other in shared shared-plain; do
        name=$project-$other
        must docker 1 create --name "$name" --network "${project}_default" busybox:local sleep 1000000
        must docker 1 network connect "$other" "$name"
        must docker 1 start "$name"
    done
done
aproj=$(address_of 1 aproj-db aproj_default) zproj=$(address_of 1 zproj-db zproj_default)
eventually 3 finds 1 aproj-shared-plain db "$aproj"
eventually 3 finds 1 zproj-shared-plain db "$(address_of 1 stranger-too shared-plain)"
eventually 3 finds 1 aproj-shared db "$aproj"
eventually 3 finds 1 zproj-shared db "$stranger"
# By its network's name each can be meant, and names of the later network are still found.
eventually 3 finds 1 aproj-shared db.shared "$stranger"
eventually 3 finds 1 aproj-shared stranger "$stranger"
eventually 3 finds 1 zproj-shared db.zproj_default "$zproj"
echo "# and when it is gone there, the next network has it"
must docker 1 rm -f aproj-db
eventually 3 finds 1 aproj-shared db "$stranger"

echo "# the first instruction of a container finds it by its alias, and by that and the network's name"
ours --internal inner-net
must docker 1 network create --internal inner-plain
must docker 1 network create shop-plain
# first NETWORK NAME: number of containers of $rounds that do not find the name in their first instruction.
first() {
    local misses=0 round
    for ((round = 0; round < rounds; round++)); do
        docker 1 run --rm --network "$1" --network-alias me busybox:local nslookup -type=a "$2" >"$(state_dir)/first" 2>&1 ||
            misses=$((misses + 1))
    done
    echo "$misses"
}
for network in inner-plain inner-net; do same "misses of me on $network" 0 "$(first "$network" me)"; done
for network in shop-plain shop-net inner-net; do same "misses of me.$network" 0 "$(first "$network" "me.$network")"; done
# Once all is known, what is not there is denied at once, and asked of nobody.
start 1 inside --network inner-net
eventually 5 finds 1 inside inside "$(address_of 1 inside inner-net)"
same "a name that is not there" "NXDOMAIN 0" "$(status_of 1 inside nobody)"
same "an address of the Internet" "REFUSED 0" "$(status_of 1 inside example.com)"
eventually 5 no_problems 1
