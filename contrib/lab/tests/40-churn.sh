#!/usr/bin/env bash
# CYCLES times (default 100) on each of two hosts at once: endpoints, containers and networks come and go. No error, no address
# twice, nothing left, and a daemon no larger than it was.
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
# What one engine lost, the other loses a moment later.
only_its_own() {
    OUT=$(docker "$1" network ls --format '{{.Name}}' | cat - <(echo docker_gwbridge) | sort -u | xargs)
    echo "$OUT"
    [[ $OUT == "bridge docker_gwbridge host none" ]]
}
for host in 1 2; do
    eventually 10 only_its_own "$host"
    same "networks that host $host knows" "[]" "$(overlay "$host" network ls --format json)"
    eventually 5 no_problems "$host"
done
