"""Restart of a daemon with many local endpoints and many rows of other hosts."""

import contextlib
import os
import pathlib
import select
import signal
import socket
import statistics
import time

from hosts import MeshError, PluginError, inside, mac_text, machine, verdict
from netlink import AF_BRIDGE, NUD_PERMANENT, RTM_DELNEIGH, RTM_NEWNEIGH, RTNLGRP_NEIGH, dump, neighbours, netlink_socket

# First answer on either socket, and adoption, in seconds.
RESTART = {"answer": 0.3, "adoption": 1.0}
CHANGES = 50  # endpoints of other hosts that come, and as many that go, while the daemon is away
LIMIT = 60.0  # seconds after which it counts as not adopted


class Net:
    """One network, as each host's engine made it."""

    def __init__(self, name):
        self.name = name
        self.ids, self.pools = {}, {}
        self.vni = None

    def make(self, host):
        call = host.plugin.call
        pool = call("IpamDriver.RequestPool", {
            "AddressSpace": "swift-overlay", "Pool": "", "SubPool": "", "Options": {"net": self.name}, "V6": False})
        self.ids[host], self.pools[host] = os.urandom(32).hex(), pool["PoolID"]
        call("NetworkDriver.CreateNetwork", {
            "NetworkID": self.ids[host], "Options": {"com.docker.network.generic": {}}, "IPv6Data": [],
            "IPv4Data": [{"AddressSpace": "swift-overlay", "Pool": pool["Pool"], "Gateway": pool["Data"]["com.docker.network.gateway"]}]})

    def path(self, host):
        if self.vni is None:
            self.vni = host.control.get(f"/networks?name={self.name}")["vni"]
        return host.space.root(f"/run/netns/swov-{self.vni}")


class One:
    """Endpoint. Other nodes learn of it from CreateEndpoint on; only one that is joined has a link."""

    def __init__(self, host, net):
        self.host, self.net = host, net
        self.id, self.mac = os.urandom(32).hex(), mac_text(bytes([0x02, 0x42]) + os.urandom(4))
        self.words = {"NetworkID": net.ids[host], "EndpointID": self.id}
        self.address = host.plugin.call("IpamDriver.RequestAddress", {
            "PoolID": net.pools[host], "Address": "", "Options": {"com.docker.network.endpoint.macaddress": self.mac}})["Address"]
        host.plugin.call("NetworkDriver.CreateEndpoint", {
            **self.words, "Interface": {"Address": self.address, "AddressIPv6": "", "MacAddress": self.mac}, "Options": {}})

    def join(self):
        self.host.plugin.call("NetworkDriver.Join", {
            **self.words, "SandboxKey": f"/var/run/docker/netns/{self.id[:12]}", "Options": {}})
        return self

    def end(self, joined=False):
        if joined:
            self.host.plugin.call("NetworkDriver.Leave", self.words)
        self.host.plugin.call("NetworkDriver.DeleteEndpoint", self.words)
        self.host.plugin.call("IpamDriver.ReleaseAddress", {
            "PoolID": self.net.pools[self.host], "Address": self.address.split("/")[0]})

    def rows(self, host):
        """Rows of a remote endpoint in this host's kernel."""
        mac, ip = bytes.fromhex(self.mac.replace(":", "")), socket.inet_aton(self.address.split("/")[0])
        if self.host is host:
            return {("neighbour", mac, ip)}
        return {("neighbour", mac, ip), ("tunnel", mac, socket.inet_aton(self.host.address))}


def make_sandboxes(host, ones):
    """Network namespaces of containers, one each: a daemon that starts takes its place in all of them."""
    host.space.run("bash", "-euc", 'for id; do : >"/run/docker/netns/$id"; unshare --net="/run/docker/netns/$id" true; done', "bash",
                   *(one.id[:12] for one in ones))


def kernel_rows(path):
    with inside(path):
        netlink = netlink_socket()
    with contextlib.closing(netlink):
        rows = {("tunnel", mac, address) for _, _, _, address, mac in dump(netlink, AF_BRIDGE) if mac and address and mac != bytes(6)}
        return rows | {("neighbour", mac, address) for _, _, state, address, mac in dump(netlink, socket.AF_INET)
                       if mac and state & NUD_PERMANENT and not address.startswith(b"\x7f")}


class Watch:
    """Counts what happens to the rows of all networks, and when."""

    def __init__(self, paths):
        self.sockets, self.events = [], []
        for path in paths:
            with inside(path):
                self.sockets.append(netlink_socket(1 << RTNLGRP_NEIGH - 1))

    def take(self, seconds):
        for ready in select.select(self.sockets, [], [], seconds)[0]:
            data, now = ready.recv(1 << 17), time.monotonic()
            for kind, family, _, state, address, mac in filter(None, neighbours(data)):
                if address is None or mac == bytes(6) or mac is None and family == AF_BRIDGE or family not in (AF_BRIDGE, socket.AF_INET):
                    continue
                # Before a neighbour goes, its state changes.
                if kind == RTM_NEWNEIGH and mac is None:
                    continue
                self.events.append((now, kind, "tunnel" if family == AF_BRIDGE else "neighbour", mac, address))

    def close(self):
        for one in self.sockets:
            one.close()


def tried(call):
    """Answer of a call, None while there is none."""
    try:
        return call()
    except (OSError, MeshError, PluginError, ValueError):
        return None


def first(connection, call, began):
    """Seconds until the first answer, and the answer. A connection of its own is made for each try."""
    while time.monotonic() - began < LIMIT:
        if (answer := tried(call)) is not None:
            return time.monotonic() - began, answer
        connection.close()
        time.sleep(0.001)
    raise MeshError("the daemon does not answer")


def restart(mesh, arguments):
    mesh.up()
    here, others = mesh.hosts[0], mesh.hosts[1:]
    nets = [Net(f"net{number}") for number in range(arguments.networks)]
    for net in nets:
        for host in mesh.hosts:
            net.make(host)
    began = time.monotonic()
    mine = [One(here, nets[number % len(nets)]) for number in range(arguments.endpoints)]
    make_sandboxes(here, mine)
    for one in mine:
        one.join()
    print(f"{len(mine)} endpoints of {here.name} on {len(nets)} networks after {time.monotonic() - began:.0f} s", flush=True)
    # A host that has none joined takes no part in a network.
    anchors = [One(host, net).join() for host in others for net in nets]
    theirs = [One(others[number % len(others)], nets[number // len(others) % len(nets)]) for number in range(arguments.remote)]
    paths = {net: net.path(here) for net in nets}

    def wanted(net):
        return set().union(*(one.rows(here) for one in mine + anchors + theirs if one.net is net))

    def is_right():
        return all(wanted(net) == kernel_rows(paths[net]) - gateways[net] for net in nets)

    gateways = {net: set() for net in nets}
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline and not all(wanted(net) <= kernel_rows(paths[net]) for net in nets):
        time.sleep(0.5)
    # The gateway's row, and what else is not an endpoint's.
    gateways = {net: kernel_rows(paths[net]) - wanted(net) for net in nets}
    if not is_right() or any(len(rows) > 2 for rows in gateways.values()):
        return verdict(False, "the rows are not there before the restart")
    print(f"{len(anchors + theirs)} endpoints of {len(others)} other hosts after {time.monotonic() - began:.0f} s", flush=True)
    time.sleep(3)

    spans = {"control": [], "plugin": [], "attach": [], "changes": [], "whole": []}
    touched, wrong, resident = [], 0, 0
    for number in range(arguments.rounds):
        here.daemon.send_signal(signal.SIGKILL if number % 2 == 0 else signal.SIGTERM)
        here.daemon.wait()
        here.plugin.close()
        here.control.close()
        for one in theirs[:CHANGES]:
            one.end()
        gone = set().union(*(one.rows(here) for one in theirs[:CHANGES]))
        del theirs[:CHANGES]
        came = [One(others[index % len(others)], nets[index % len(nets)]) for index in range(CHANGES)]
        theirs += came
        left = {(RTM_DELNEIGH, *row) for row in gone} | {(RTM_NEWNEIGH, *row) for one in came for row in one.rows(here)}
        # A neighbour that goes is told without its MAC.
        left = {(kind, table, None if kind == RTM_DELNEIGH and table == "neighbour" else mac, address) for kind, table, mac, address in left}
        expected = set(left)
        watch = Watch(paths.values())
        began = time.monotonic()
        here.start()
        took, _ = first(here.control, lambda: here.control.get("/nodes"), began)
        spans["control"].append(took)
        # Its words are those of an engine that asks for one of its endpoints.
        took, _ = first(here.plugin, lambda: here.plugin.call("NetworkDriver.EndpointOperInfo", mine[0].words), began)
        spans["plugin"].append(took)
        new = One(here, nets[0]).join()
        spans["attach"].append(time.monotonic() - began)
        own = {(RTM_NEWNEIGH, *row) for row in new.rows(here)}
        done, seen = None, 0
        while left and time.monotonic() - began < LIMIT:
            watch.take(0.05)
            for at, *event in watch.events[seen:]:
                if tuple(event) in left:
                    left.remove(tuple(event))
                    done = at - began
            seen = len(watch.events)
        spans["changes"].append(LIMIT if left or done is None else done)
        # Whole: what it reports of all hosts is what there is.
        total = len(mine) + 1 + len(anchors) + len(theirs)
        counts = {net: 0 for net in nets}
        while sum(counts.values()) != total and time.monotonic() - began < LIMIT:
            # One at a time, as it costs the daemon something.
            for net in nets:
                counts[net] = len(here.control.get(f"/networks?name={net.name}")["endpoints"])
                time.sleep(0.02)
        spans["whole"].append(time.monotonic() - began)
        # A while longer: nothing that was right may be taken away and given back.
        until = time.monotonic() + 3
        while time.monotonic() < until:
            watch.take(0.1)
        touched.append(sum(tuple(event) not in expected | own for _, *event in watch.events))
        for at, *event in [event for event in watch.events if tuple(event[1:]) not in expected | own][:10]:
            print(f"  touched at {at - began:.3f}: {event}")
        if left:
            print(f"  {len(left)} of {len(expected)} rows did not change, such as {min(left, key=str)}")
        watch.close()
        new.end(joined=True)
        deadline = time.monotonic() + 10
        while not (right := is_right()) and time.monotonic() < deadline:
            time.sleep(0.2)
        if not right:
            wrong += 1
            for net in nets:
                rows = kernel_rows(paths[net]) - gateways[net]
                print(f"  {net.name}: lacks {len(wanted(net) - rows)} rows, has {len(rows - wanted(net))} too many")
        resident = max(resident, int(next(
            text.split()[1] for text in pathlib.Path(f"/proc/{here.daemon.pid}/status").read_text().splitlines()
            if text.startswith("VmRSS:"))))
        print(f"  round {number + 1}, SIG{'KILL' if number % 2 == 0 else 'TERM'}: control {1000 * spans['control'][-1]:.0f} ms, "
              f"plugin {1000 * spans['plugin'][-1]:.0f} ms, attached {1000 * spans['attach'][-1]:.0f} ms, "
              f"changes {1000 * spans['changes'][-1]:.0f} ms, whole {1000 * spans['whole'][-1]:.0f} ms, {touched[-1]} rows touched",
              flush=True)

    print(f"\n{arguments.rounds} restarts of a daemon with {len(mine)} endpoints, {len(anchors + theirs)} of {len(others)} other hosts, on "
          f"{len(nets)} networks; meanwhile {CHANGES} came and {CHANGES} went. From the moment at which the process is started. {machine()}")
    print(f"\n{'ms':58}    median       max")
    for key, text in {
        "control": "first answer on the control socket", "plugin": "first answer to a call of the engine",
        "attach": "a new endpoint is attached (address, endpoint, join)",
        "changes": "rows of what came and went meanwhile are right",
        "whole": "the daemon reports all endpoints of all hosts",
    }.items():
        print(f"{text:58}{1000 * statistics.median(spans[key]):10.0f}{1000 * max(spans[key]):10.0f}")
    print(f"{'resident, MB':58}{resident / 1000:20.0f}\n")
    answer = max(statistics.median(spans["control"]), statistics.median(spans["plugin"]))
    adoption = max(statistics.median(spans[key]) for key in ("attach", "changes", "whole"))
    passed = verdict(answer <= RESTART["answer"],
                     f"first answers after {1000 * answer:.0f} ms (median); target {1000 * RESTART['answer']:.0f} ms")
    passed &= verdict(adoption <= RESTART["adoption"],
                      f"all adopted after {1000 * adoption:.0f} ms (median); target {1000 * RESTART['adoption']:.0f} ms")
    passed &= verdict(not any(touched), f"{sum(touched)} rows that were right were touched")
    passed &= verdict(not wrong, "after each restart every kernel row is right, and there are no others")
    return passed
