"""Address handed out → row on all other nodes."""

import collections
import contextlib
import gc
import os
import select
import signal
import socket
import struct
import time

from hosts import MeshError, inside, libc, line, machine, quantile, verdict
from netlink import AF_BRIDGE, RTM_DELNEIGH, RTNLGRP_NEIGH, neighbours, netlink_socket

# Address handed out → row on all others, in seconds.
CONVERGE = {"p50": 0.003, "p99": 0.010}


class Watcher:
    """Process that listens in the overlay's namespace of every host, and records when a row appears or disappears.

    The time is taken on receipt, before anything else is done; real-time priority keeps the daemons' work out of it.
    """

    RECORD = struct.Struct("=qHB6s4s")
    TUNNEL, NEIGHBOUR_ROW, GONE = 1, 2, 0x80

    def __init__(self, hosts):
        self.hosts = hosts
        sockets = []
        for host in hosts:
            with inside(host.overlay_path()):
                sockets.append(netlink_socket(1 << RTNLGRP_NEIGH - 1))
        self.pipe, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                self.pipe.close()
                libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_DFL)
                code = self._watch(sockets, theirs)
            finally:
                os._exit(code)
        theirs.close()
        for netlink in sockets:
            netlink.close()
        self.is_real_time = self.pipe.recv(64) == b"1"

    def _watch(self, sockets, pipe):
        gc.disable()
        real_time = b"1"
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        except OSError:
            real_time = b"0"
        pipe.send(real_time)
        poll = select.epoll()
        for index, netlink in enumerate(sockets):
            netlink.setblocking(False)
            poll.register(netlink, select.EPOLLIN)
        index_of = {netlink.fileno(): index for index, netlink in enumerate(sockets)}
        poll.register(pipe, select.EPOLLHUP)
        received = []
        while True:
            # Reports are sent when nothing more arrives.
            ready = poll.poll(0.0005 if received else -1)
            if not ready:
                for at, index, data in received:
                    for kind, family, _, state, address, mac in filter(None, neighbours(data)):
                        if address is None or mac is None and family == AF_BRIDGE:
                            continue
                        table = self.TUNNEL if family == AF_BRIDGE else self.NEIGHBOUR_ROW
                        if family in (AF_BRIDGE, socket.AF_INET):
                            gone = self.GONE if kind == RTM_DELNEIGH else 0
                            pipe.send(self.RECORD.pack(at, index, table | gone, mac or bytes(6), address))
                received.clear()
            for descriptor, _ in ready:
                if descriptor == pipe.fileno():
                    return 0
                with contextlib.suppress(BlockingIOError):
                    while True:
                        data = sockets[index_of[descriptor]].recv(65536)
                        received.append((time.monotonic_ns(), index_of[descriptor], data))

    def collect(self, endpoint, gone, seconds):
        """When each other host got, or lost, its row of the endpoint: {host: ns} for tunnel rows and for neighbours."""
        mac, ip = bytes.fromhex(endpoint.mac.replace(":", "")), socket.inet_aton(endpoint.ip)
        vtep = socket.inet_aton(endpoint.host.address)
        tunnel, neighbour = {}, {}
        flag = self.GONE if gone else 0
        deadline = time.monotonic() + seconds
        others = len(self.hosts) - 1
        while len(tunnel) < others or len(neighbour) < others:
            self.pipe.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                record = self.pipe.recv(64)
            except TimeoutError:
                return tunnel, neighbour
            if not record:
                raise MeshError("the watching process ended")
            at, index, kind, row_mac, address = self.RECORD.unpack(record)
            host = self.hosts[index]
            if host is endpoint.host:
                continue
            if kind == self.TUNNEL | flag and row_mac == mac and address == vtep:
                tunnel.setdefault(host, at)
            elif kind == self.NEIGHBOUR_ROW | flag and address == ip and (gone or row_mac == mac):
                neighbour.setdefault(host, at)
        return tunnel, neighbour

    def close(self):
        self.pipe.close()
        os.waitpid(self.pid, 0)



def converge(mesh, arguments):
    mesh.up()
    mesh.networks()
    base = [host.attach() for host in mesh.hosts]
    if mesh.wait_rows(base, 30) is None or mesh.wait_well(30) is None:
        return verdict(False, "the mesh is not at rest")
    time.sleep(2)
    watcher = Watcher(mesh.hosts)
    # The first endpoint of each host may need a block of addresses, and warms caches.
    warm = 2 * len(mesh.hosts)
    spans = collections.defaultdict(list)
    late = 0
    gc.disable()
    for sample in range(-warm, arguments.samples):
        host = mesh.hosts[sample % len(mesh.hosts)]
        endpoint = host.attach()
        times = endpoint.times
        tunnel, neighbour = watcher.collect(endpoint, gone=False, seconds=10)
        host.leave(endpoint)
        left = time.monotonic_ns()
        gone, _ = watcher.collect(endpoint, gone=True, seconds=10)
        host.release(endpoint)
        whole = len(mesh.hosts) - 1
        if min(len(tunnel), len(neighbour), len(gone)) < whole:
            late += 1
            print(f"  sample {sample} on {host.name}: of {whole} hosts, within 10 s, {len(tunnel)} got a row, {len(neighbour)} a "
                  f"neighbour, {len(gone)} lost the row")
            continue
        if sample < 0:
            continue
        last = max(tunnel.values())
        spans["request"].append(last - times["request"])
        spans["address"].append(last - times["address"])
        spans["join"].append(last - times["join"])
        spans["first"].append(min(tunnel.values()) - times["join"])
        spans["neighbour"].append(max(neighbour.values()) - times["address"])
        spans["answered"].append(last - times["joined"])
        spans["leave"].append(max(gone.values()) - times["leave"])
        spans["RequestAddress"].append(times["address"] - times["request"])
        spans["CreateEndpoint"].append(times["join"] - times["address"])
        spans["Join"].append(times["joined"] - times["join"])
        spans["Leave"].append(left - times["leave"])
        time.sleep(arguments.pause / 1000)
    gc.enable()
    watcher.close()
    at_rest = mesh.wait_rows(base, 5)

    count = len(spans["address"])
    print(f"\n{count} endpoints, one after the other, made on each of {len(mesh.hosts)} nodes in turn ({warm} more to warm up, not counted)."
          "\nMeasured: from the script's clock before it writes a call, or after it read the answer, to the netlink message of the last"
          f"\nof the {len(mesh.hosts) - 1} other nodes that the endpoint's row (MAC → VTEP, on the vxlan device) is in its kernel; received by"
          f"\none process in all namespaces, {'at real-time' if watcher.is_real_time else 'WITHOUT real-time'} priority. {machine()}")
    if not count:
        return verdict(False, "no sample is whole")
    print(f"\n{'ms':58}       p50       p99       max")
    for key, text in {
        "address": "address handed out (RequestAddress answered) → last row",
        "request": "start of RequestAddress → last row",
        "join": "start of Join → last row (CreateEndpoint has announced)",
        "first": "start of Join → first row",
        "answered": "answer of Join → last row (negative: before it)",
        "neighbour": "address handed out → last neighbour",
        "leave": "start of Leave → row gone everywhere",
        "RequestAddress": "the call RequestAddress", "CreateEndpoint": "the call CreateEndpoint", "Join": "the call Join",
        "Leave": "the call Leave",
    }.items():
        print(f"{text:58}{line(spans[key])}")
    print()
    p50, p99 = quantile(spans["address"], 0.5) / 1e9, quantile(spans["address"], 0.99) / 1e9
    passed = verdict(
        p50 <= CONVERGE["p50"] and p99 <= CONVERGE["p99"],
        f"address handed out → row on all others: p50 {1000 * p50:.2f} ms, p99 {1000 * p99:.2f} ms; targets {1000 * CONVERGE['p50']:.0f} "
        f"and {1000 * CONVERGE['p99']:.0f} ms")
    passed &= verdict(not late, f"{late} of {arguments.samples + warm} endpoints did not come and go everywhere within 10 s")
    passed &= verdict(at_rest is not None, "after it, every kernel holds the rows of the live endpoints and no others")
    return passed
