#!/usr/bin/env bash
# Endpoints, containers and networks come and go CYCLES times (default 100) on two hosts at once. There is no error, no duplicate
# address and nothing left over, and the daemon does not grow.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

lab_up 2
before1=$(footprint 1) before2=$(footprint 2)
create_network 1 churn
create_network 2 churn

rss_files=()
for host in 1 2; do
    rss_files+=("/proc/$(host_init "$host")/root/proc/$(spawned "$host" daemon)/status")
done
must python3 "$LAB_DIR/tests/churn.py" "${CYCLES:-100}" "$(docker_sock 1)" "$(docker_sock 2)" "${rss_files[@]}"

remove_network 1 churn
remove_network 2 churn
eventually 30 footprint_is 1 "$before1"
eventually 30 footprint_is 2 "$before2"
# A network that is removed on one engine goes from the other a moment later.
only_its_own() {
    OUT=$(docker "$1" network ls --format '{{.Name}}' | cat - <(echo docker_gwbridge) | sort -u | xargs)
    echo "$OUT"
    [[ $OUT == "bridge docker_gwbridge host none" ]]
}
# A removal counts for the cluster when it is clear that it was no prune, two seconds later.
# shellcheck disable=SC2317 # called by eventually
knows_none() {
    OUT=$(overlay "$1" network ls --format json)
    echo "$OUT"
    [[ $OUT == "[]" ]]
}
for host in 1 2; do
    eventually 10 only_its_own "$host"
    eventually 10 knows_none "$host"
    eventually 5 no_problems "$host"
done
