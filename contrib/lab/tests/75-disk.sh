#!/usr/bin/env bash
# The disk with a node's state is full, or fails writes. Calls that need it are refused with the reason, the others go on, no
# address
# is handed out twice, and when the disk works again so does the node.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

lab_up 3
for host in 1 2 3; do create_network "$host" net; done
for host in 1 2 3; do start "$host" "c$host" --network net; done
a1=$(address_of 1 c1 net) a2=$(address_of 2 c2 net) a3=$(address_of 3 c3 net)

echo "# the disk of a host is full"
put_state_on 2 -t tmpfs -o size=1m,mode=0700 state
start 2 before --network net
fill 2
for n in 1 2 3; do
    refused docker 2 run --rm --network net busybox:local true
    prints "disk is full"
    prints "free some space"
done
refused docker 2 network create -d swift-overlay --ipam-driver swift-overlay --ipam-opt net=other other
prints "disk is full"
must problem 2 "disk is full"
# Containers that have an address go on talking, with new ones too.
start 1 meanwhile --network net
reaches 2 c2 "$(address_of 1 meanwhile net)"
reaches 1 meanwhile "$a2"
reaches 2 before "$a3"
no_address_twice net
# No daemon starts there either, as it could not count its starts.
must daemon_stop 2 KILL
no_start 2
prints "disk is full"
prints "free some space and start the daemon again"
reaches 2 c2 "$a1"
empty 2
must daemon_start 2
eventually 15 no_problems 2

echo "# without a restart"
fill 2
refused docker 2 run --rm --network net busybox:local true
must docker 2 rm -f before
empty 2
start 2 after --network net
must no_problems 2
reaches 2 after "$a1"
reaches 1 c1 "$(address_of 2 after net)"
for host in 1 2; do create_network "$host" other; done
start 1 other1 --network other
start 2 other2 --network other
reaches 2 other2 "$(address_of 1 other1 other)"
no_address_twice net

echo "# the disk of the catalogue's writer is full"
put_state_on 1 -t tmpfs -o size=1m,mode=0700 state
fill 1
refused docker 1 run --rm --network net busybox:local true
prints "disk is full"
for host in 1 3; do
    refused docker "$host" network create -d swift-overlay --ipam-driver swift-overlay --ipam-opt net=late late
    prints "catalogue writer host1 cannot write its state"
done
# Calls that need no agreement go on.
start 3 own --network net
reaches 3 own "$a1"
reaches 1 c1 "$(address_of 3 own net)"
empty 1
for host in 1 3; do create_network "$host" late; done
start 1 late1 --network late
start 3 late3 --network late
reaches 3 late3 "$(address_of 1 late1 late)"
start 1 end1 --network net
no_address_twice net
no_address_twice late

echo "# a state directory that cannot be written at the start"
must daemon_stop 3
must in_host 3 mount --bind "$(daemon_state 3)" "$(daemon_state 3)"
must in_host 3 mount -o remount,bind,ro "$(daemon_state 3)"
no_start 3
prints "$(daemon_state 3)"
prints "Read-only file system"
must in_host 3 umount "$(daemon_state 3)"
must daemon_start 3
eventually 15 no_problems 3
start 3 end3 --network net
reaches 3 end3 "$a2"

echo "# a file system that the kernel makes read-only because of an error, while the daemon runs"
if [[ ! -e /dev/loop-control ]]; then
    echo "left out: this machine has no loop devices"
    exit
fi
disk=$(host_data 3)/disk
must truncate -s 8M "$disk"
must mkfs.ext4 -q "$disk"
put_state_on 3 -o loop "$disk"
start 3 durable --network net
must in_host 3 mount -o remount,abort "$(daemon_state 3)"
for n in 1 2; do
    refused docker 3 run --rm --network net busybox:local true
    prints "state could not be written"
    prints "$(daemon_state 3)"
    prints "Read-only file system"
done
refused docker 3 network create -d swift-overlay --ipam-driver swift-overlay --ipam-opt net=never never
prints "state could not be written"
must problem 3 "state could not be written"
start 1 while1 --network net
reaches 3 durable "$(address_of 1 while1 net)"
reaches 1 while1 "$a3"
no_address_twice net
must daemon_stop 3 KILL
no_start 3
prints "Read-only file system"
must in_host 3 umount "$(daemon_state 3)"
must in_host 3 mount -o loop "$disk" "$(daemon_state 3)"
must daemon_start 3
eventually 15 no_problems 3
reaches 3 durable "$a1"
for n in 1 2 3; do start 3 "well$n" --network net; done
reaches 3 well1 "$a2"
no_address_twice net
