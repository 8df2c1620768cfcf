"""Checks what can be read of the control plane on the wire, and what strangers and removed nodes achieve."""

import os
import signal
import socket
import struct
import threading
import time

from hosts import NETWORK, PORT, MeshError, inside, machine, verdict

# Seconds from the answer of `node rm` until no reachable host has a row of the node.
GONE = 0.1
# Seconds until a node that was away learns that it was removed.
TOLD = 15.0
ETH_P_ALL = 3


class Capture(threading.Thread):
    """Payloads of all packets on the switch to or from the port."""

    def __init__(self, switch):
        super().__init__(daemon=True)
        with inside(f"/proc/{switch.holder.pid}/ns/net"):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        self.socket.settimeout(0.2)
        self.payloads = []  # (protocol, source, destination, bytes)
        self.is_over = False

    def run(self):
        while not self.is_over:
            try:
                frame = self.socket.recv(65536)
            except TimeoutError:
                continue
            if frame[12:14] != b"\x08\x00" or frame[23] not in (6, 17):
                continue
            start = 14 + (frame[14] & 15) * 4
            end = 14 + struct.unpack_from("!H", frame, 16)[0]
            ports = struct.unpack_from("!HH", frame, start)
            if PORT not in ports:
                continue
            data = frame[start + (8 if frame[23] == 17 else (frame[start + 12] >> 4) * 4):end]
            if data:
                self.payloads.append((frame[23], frame[26:30], frame[30:34], data))

    def stop(self):
        self.is_over = True
        self.join()


def secrecy(mesh, arguments):
    captures = []

    def listen(switch):
        captures.append(Capture(switch))
        captures[0].start()

    mesh.up(listen)
    mesh.networks()
    hosts = mesh.hosts
    endpoints = [host.attach() for host in hosts for _ in range(3)]
    if mesh.wait_rows(endpoints, 30) is None or mesh.wait_well(30) is None:
        return verdict(False, "the mesh is not at rest")
    token = hosts[0].cli("join-token", "--quiet").strip()
    time.sleep(2)
    captures[0].stop()
    payloads = captures[0].payloads
    passed = read(mesh, payloads, endpoints, token)
    passed &= strangers(mesh, payloads)
    return removed(mesh, endpoints) and passed


def read(mesh, payloads, endpoints, token):
    needles = {f"the name {host.name}": host.name.encode() for host in mesh.hosts}
    needles[f"the network {NETWORK}"] = NETWORK.encode()
    needles["the token"] = token.split("-")[-1].encode()
    for host in mesh.hosts:
        needles[f"{host.name}'s address, in words"] = host.address.encode()
        needles[f"{host.name}'s address, in bytes"] = socket.inet_aton(host.address)
    for endpoint in endpoints:
        needles[f"the endpoint's address {endpoint.ip}, in words"] = endpoint.ip.encode()
        needles[f"the endpoint's address {endpoint.ip}, in bytes"] = socket.inet_aton(endpoint.ip)
        needles[f"the endpoint's MAC {endpoint.mac}"] = bytes.fromhex(endpoint.mac.replace(":", ""))
    kinds = {protocol: [data for kind, _, _, data in payloads if kind == protocol] for protocol in (6, 17)}
    print(f"\n{len(kinds[17])} datagrams and {len(kinds[6])} segments of streams on port {PORT}, "
          f"{sum(len(data) for _, _, _, data in payloads)} bytes, while {len(mesh.hosts)} nodes joined and {len(endpoints)} endpoints came")
    streams = b"".join(kinds[6])
    found = [what for what, needle in needles.items() if needle in streams or any(needle in data for data in kinds[17])]
    for what in found[:5]:
        print(f"  to be read: {what}")
    return verdict(not found and len(kinds[17]) > 100 and kinds[6], f"{len(found)} of {len(needles)} names, addresses and secrets can be read")


def dropped(host):
    return host.control.get("/status")["transport"]["dropped"]


def strangers(mesh, payloads):
    """Sends packets of a stranger, and repeats packets of members."""
    sender, receiver = mesh.hosts[1], mesh.hosts[0]
    ends = socket.inet_aton(sender.address), socket.inet_aton(receiver.address)
    theirs = [data for kind, source, target, data in payloads if kind == 17 and (source, target) == ends]
    if not theirs:
        raise MeshError("no datagram of the second host to the first one")
    before = dropped(receiver)
    heard = len(receiver.states())
    with inside(f"/proc/{sender.space.holder.pid}/ns/net"):
        outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sent = {"unknown sender": theirs[-1][:4] + os.urandom(16) + theirs[-1][20:],
            "replayed": theirs[-1], "malformed": os.urandom(40)}
    # A packet with a counter above all that were seen, and a wrong seal.
    forged = bytearray(theirs[-1])
    forged[24:32] = b"\xff" * 7 + b"\x00"
    sent["not authentic"] = bytes(forged)
    for data in sent.values():
        for _ in range(10):
            outside.sendto(data, (receiver.address, PORT))
    time.sleep(0.5)
    after = dropped(receiver)
    counts = {reason: after.get(reason, 0) - before.get(reason, 0) for reason in sent}
    print(f"  ten of each were sent; counted as dropped: {counts}")
    passed = verdict(all(count >= 10 for count in counts.values()),
                     "packets of strangers, forged, repeated and malformed ones are dropped and counted")
    return passed & verdict(len(receiver.states()) == heard and mesh.wait_well(5) is not None, "and change nothing")


def is_member(host):
    try:
        return bool(host.control.get("/nodes"))
    except MeshError:
        # It is in no cluster, and reports that.
        return False


def removed(mesh, endpoints):
    """Removes a node while it is not reachable."""
    gone, others = mesh.hosts[-1], mesh.hosts[:-1]
    os.kill(gone.daemon.pid, signal.SIGSTOP)
    time.sleep(2)
    mesh.hosts[0].cli("node", "rm", "--force", gone.name)
    began = time.monotonic()
    left = list(others)
    while left and time.monotonic() - began < 10:
        left = [host for host in left
                if gone.name in host.states() or any(gone.address in row for row in host.rows())]
    took = time.monotonic() - began
    print(f"  {machine()}")
    passed = verdict(not left and took <= GONE, f"{1000 * took:.0f} ms after `node rm` answered no other host has anything of the node "
                     f"any more; target {1000 * GONE:.0f} ms")
    live = [endpoint for endpoint in endpoints if endpoint.host is not gone]
    passed &= verdict(mesh.wait_rows(live, 5, others) is not None, "the kernels hold what the others have, and no more")
    before = [dropped(host).get("unknown sender", 0) for host in others]
    os.kill(gone.daemon.pid, signal.SIGCONT)
    began = time.monotonic()
    overlay = gone.overlay_path()
    while (is_member(gone) or os.path.exists(overlay)) and time.monotonic() - began < TOLD:
        time.sleep(0.02)
    told = time.monotonic() - began
    counts = [dropped(host).get("unknown sender", 0) - count for host, count in zip(others, before)]
    passed &= verdict(sum(counts) > 0, f"what it goes on sending is dropped: {sum(counts)} packets")
    passed &= verdict(
        not is_member(gone) and not os.path.exists(overlay),
        f"it learned of it {told:.2f} s after it ran again, and took its links down")
    return passed & verdict("removed from the cluster" in gone.log_tail(60), "and says so in its log")
