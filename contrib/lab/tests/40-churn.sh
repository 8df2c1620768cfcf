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
for host in 1 2; do
    same "networks left on host $host" "bridge docker_gwbridge host none" \
        "$(docker "$host" network ls --format '{{.Name}}' | cat - <(echo docker_gwbridge) | sort -u | xargs)"
done
