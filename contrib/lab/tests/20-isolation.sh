#!/usr/bin/env bash
# Two networks on three hosts: containers reach those with which they share a network, and no others.
set -euo pipefail
# shellcheck source=contrib/lab/tests/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/assert.sh"

lab_up 3
for host in 1 2 3; do
    create_network "$host" red
    create_network "$host" blue
done
start 1 red1 --network red
start 2 red2 --network red
start 1 blue1 --network blue
start 3 blue3 --network blue
start 2 both2 --network red
must docker 2 network connect blue both2

declare -A address
address[red1]=$(address_of 1 red1 red) address[red2]=$(address_of 2 red2 red)
address[blue1]=$(address_of 1 blue1 blue) address[blue3]=$(address_of 3 blue3 blue)
address[both2-red]=$(address_of 2 both2 red) address[both2-blue]=$(address_of 2 both2 blue)
same "distinct addresses" 6 "$(printf '%s\n' "${address[@]}" | sort -u | grep -c .)"

reaches 1 red1 "${address[red2]}"
reaches 2 red2 "${address[red1]}"
reaches 1 blue1 "${address[blue3]}"
reaches 3 blue3 "${address[blue1]}"
reaches 1 red1 "${address[both2-red]}"
reaches 3 blue3 "${address[both2-blue]}"
reaches 2 both2 "${address[red1]}"
reaches 2 both2 "${address[blue3]}"

never_reaches 1 red1 "${address[blue1]}"
never_reaches 1 red1 "${address[blue3]}"
never_reaches 1 red1 "${address[both2-blue]}"
never_reaches 1 blue1 "${address[red1]}"
never_reaches 3 blue3 "${address[red2]}"
never_reaches 3 blue3 "${address[both2-red]}"

# Not even if the packets are forced onto the other network.
device=$(in_container 1 red1 ip -o -4 address show | awk -v a="${address[red1]}" 'index($4, a "/") == 1 {print $2}')
must in_container 1 red1 ip route add "${address[blue1]}" dev "$device"
must in_container 1 red1 ip route add "${address[blue3]}" dev "$device"
never_reaches 1 red1 "${address[blue1]}"
never_reaches 1 red1 "${address[blue3]}"

# A network that a container leaves is out of its reach at once.
must docker 2 network disconnect blue both2
never_reaches 3 blue3 "${address[both2-blue]}"
reaches 2 both2 "${address[red1]}"
