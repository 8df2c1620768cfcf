"""How long an engine waits for an endpoint's end, and how long the kernel's deletion of the links takes by itself."""

import os
import pathlib
import socket
import struct
import time

from hosts import inside, quantile, verdict
from netlink import netlink_socket

RTM_NEWLINK, RTM_DELLINK = 16, 17
NLM_F_ACK = 4
IFLA_IFNAME, IFLA_GROUP = 3, 27
GROUP = 0x6265
BLOCK = 20
# Share of the time in which the kernel deletes one veth pair.
TARGET = 0.25


def request(netlink, kind, attributes):
    """Carries out a request about links; returns the milliseconds that it took."""
    body = struct.pack("=BBHiII", 0, 0, 0, 0, 0, 0)
    for number, data in attributes:
        body += struct.pack("=HH", 4 + len(data), number) + data + b"\0" * (-len(data) % 4)
    began = time.monotonic_ns()
    netlink.send(struct.pack("=IHHII", 16 + len(body), kind, 1 | NLM_F_ACK, 1, 0) + body)
    answer = netlink.recv(65536)
    took = (time.monotonic_ns() - began) / 1e6
    code = struct.unpack_from("=i", answer, 16)[0]
    if code:
        raise OSError(-code, os.strerror(-code))
    return took


def kernel(host, count):
    """Deletes veth pairs one by one, and as many in a group."""
    def pairs():
        lines = [f"link add del{number} group {GROUP} type veth peer name led{number}" for number in range(count)]
        host.space.run("ip", "-batch", "-", text="\n".join(lines) + "\n")

    with inside(f"/proc/{host.space.holder.pid}/ns/net"):
        netlink = netlink_socket()
    pairs()
    singles = [request(netlink, RTM_DELLINK, [(IFLA_IFNAME, f"del{number}\0".encode())]) for number in range(count)]
    pairs()
    group = request(netlink, RTM_DELLINK, [(IFLA_GROUP, struct.pack("=I", GROUP))])
    print(f"the kernel alone: a veth pair {quantile(singles, 0.5):.2f} ms, {count} one by one {sum(singles):.0f} ms, "
          f"{count} in a group {group:.0f} ms")
    return quantile(singles, 0.5)


def links(host):
    with inside(host.overlay_path()):
        names = [name for _, name in socket.if_nameindex()]
    return sum(name.startswith("ve") for name in names)


def detach(mesh, arguments):
    """Ends endpoints one by one, on one host with the binary and on another with that of before, in turn."""
    if arguments.before:
        mesh.binaries[2] = pathlib.Path(arguments.before).resolve()
    mesh.up()
    mesh.networks()
    sides = {"now": mesh.hosts[0]}
    if arguments.before:
        sides["before"] = mesh.hosts[1]
    alone = kernel(mesh.hosts[0], min(arguments.endpoints, 100))
    # One stays, and the network with it.
    attached = {side: [host.attach() for _ in range(arguments.endpoints + 1)] for side, host in sides.items()}
    times = {side: [] for side in sides}
    # In blocks and in turn, so that other load on the machine affects both alike. The pause keeps what one leaves to do from the other.
    for start in range(0, arguments.endpoints, BLOCK):
        for side, host in sides.items():
            for endpoint in attached[side][start:min(start + BLOCK, arguments.endpoints)]:
                began = time.monotonic_ns()
                host.leave(endpoint)
                host.plugin.call("NetworkDriver.DeleteEndpoint", {"NetworkID": host.network_id, "EndpointID": endpoint.id})
                times[side].append((time.monotonic_ns() - began) / 1e6)
            time.sleep(0.2)
    ended = time.monotonic() - 0.2
    while (left := max(links(host) for host in sides.values())) > 1 and time.monotonic() - ended < 10:
        time.sleep(0.005)
    print(f"links that are left: {left}, {1000 * (time.monotonic() - ended):.0f} ms after the last answer")
    for side, all_times in times.items():
        print(f"{side}: {len(all_times)} endpoints, Leave and DeleteEndpoint p50 {quantile(all_times, 0.5):.2f} ms, "
              f"p95 {quantile(all_times, 0.95):.2f} ms, all {sum(all_times):.0f} ms")
    p50 = quantile(times["now"], 0.5)
    if arguments.before:
        before = times["before"]
        print(f"ratio to before: p50 {p50 / quantile(before, 0.5):.3f}, all {sum(times['now']) / sum(before):.3f}")
    return verdict(left == 1 and p50 <= TARGET * alone,
                   f"p50 {p50:.2f} ms, {p50 / alone:.3f} of the kernel's time for a veth pair; target {TARGET}")
