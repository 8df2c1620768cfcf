#!/usr/bin/env bash
# What the README walks through: two hosts, one network, two containers, and nothing left behind.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

lab_up 2
before1=$(footprint 1) before2=$(footprint 2)

create_network 1 test-net
create_network 2 test-net
start 1 alpine1 --network test-net
start 2 alpine2 --network test-net
a1=$(address_of 1 alpine1 test-net) a2=$(address_of 2 alpine2 test-net)
[[ -n $a1 && -n $a2 && $a1 != "$a2" ]] || fail "two addresses expected: '$a1' '$a2'"
reaches 1 alpine1 "$a2"
reaches 2 alpine2 "$a1"

must overlay 1 node ls
prints host1
prints host2
must overlay 2 status --format json
same "networks known on host 2" test-net "$(jq -r '.networks[].name' <<<"$OUT")"

must docker 1 stop alpine1
must docker 2 stop alpine2
must docker 1 rm alpine1
must docker 2 rm alpine2
remove_network 1 test-net
remove_network 2 test-net
eventually 15 footprint_is 1 "$before1"
eventually 15 footprint_is 2 "$before2"
