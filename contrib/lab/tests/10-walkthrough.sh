#!/usr/bin/env bash
# The README's walkthrough: two hosts, a network created on one of them, containers that find one another by name, nothing left
# over.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

lab_up 2
before1=$(footprint 1) before2=$(footprint 2)

must docker 1 network create -d swift-overlay --ipam-driver swift-overlay test-net
gets 2 test-net
must docker 2 network ls
prints test-net
start 1 alpine1 --network test-net
start 2 alpine2 --network test-net
a1=$(address_of 1 alpine1 test-net) a2=$(address_of 2 alpine2 test-net)
[[ -n $a1 && -n $a2 && $a1 != "$a2" ]] || fail "two addresses expected: '$a1' '$a2'"
must docker 1 exec alpine1 ping -c 2 alpine2
prints ", 0% packet loss"
must docker 2 exec alpine2 ping -c 2 alpine1
prints ", 0% packet loss"
start 2 alpine3 --network test-net
eventually 2 docker 1 exec alpine1 ping -c 1 alpine3
# A container may look a name up as its first act.
must docker 1 run --rm --network test-net busybox:local ping -c 2 alpine2
prints ", 0% packet loss"

must overlay 1 node ls
prints host1
prints host2
must overlay 2 status --format json
same "networks known on host 2" test-net "$(jq -r '.networks[].name' <<<"$OUT")"
same "the engine's API" connected "$(jq -r .engine.state <<<"$OUT")"
same "problems" "" "$(jq -r '.problems[]' <<<"$OUT")"

must docker 1 stop alpine1
# gone I NAME GONE: the answer says that there is no such name. Silence would be no answer.
gone() { [[ $(status_of "$1" "$2" "$3.test-net") == "NXDOMAIN 0" ]]; }
eventually 2 gone 2 alpine2 alpine1
# Asked on a host where it never was, and on its own.
must docker 2 stop alpine3
must docker 1 start alpine1
eventually 2 gone 1 alpine1 alpine3
eventually 2 gone 2 alpine2 alpine3
must docker 1 exec alpine1 ping -c 1 -W 1 alpine2
must docker 1 stop alpine1
must docker 2 stop alpine2
must docker 1 rm alpine1
must docker 2 rm alpine2 alpine3
must docker 1 network rm test-net
loses 2 test-net
same "networks in the end" "[]" "$(overlay 2 network ls --format json)"
eventually 15 footprint_is 1 "$before1"
eventually 15 footprint_is 2 "$before2"
