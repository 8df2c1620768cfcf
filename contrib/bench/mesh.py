"""The working half of `mesh`; standard library only. See `mesh --help`.

A host is a network, mount and UTS namespace with its own /run, held by a process that sleeps. None of them has a name: they end with
that process, and that one, like every daemon, ends with this one. The machine's own network never sees the hosts; they hang on one
bridge in a namespace of its own.

The script is the engine of every host: it says to the plugin's socket what Docker Engine 28 says, call by call. Nobody moves the
container's end of a pair into a sandbox, so it stays in the host's namespace; its name is made of the endpoint's id, so none clash.
"""

import argparse
import collections
import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import gc
import json
import math
import os
import pathlib
import random
import re
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

NETWORK = "mesh"
PORT = 7946

# ---------------------------------------------------------------------------------------------------------------- what is expected

# Address handed out → row on all others, in seconds.
CONVERGE = {"p50": 0.003, "p99": 0.010}
# Per daemon: bytes resident, share of one core, bytes a second sent (IP packets on 7946, headers and all).
IDLE = {"resident": 30e6, "core": 0.005, "sent": 600}

# States, as `node ls` words them. No healthy node may say one of these of a healthy node (invariant F).
NEVER_OF_HEALTHY = {"unreachable", "daemon-down"}
# After a fault everybody says this of everybody.
WELL = {"alive"}
# Seconds after the end of a fault until the kernels hold what is live (C), until all states are well, and until a node that was sick has
# to be treated as healthy by the others (P).
WITHIN = {"rows": 5.0, "well": 15.0, "healthy again": 5.0}


@dataclasses.dataclass
class Fault:
    """`who` is one host, `other` a second one; `others` are all but the first."""

    title: str
    seconds: float
    # Is `who` sick meanwhile? Of a sick node anything in `may` may be said; of others nothing in NEVER_OF_HEALTHY.
    is_sick: bool = False
    may: frozenset = frozenset()
    # (who says it, of whom, one of these states, within so many seconds of the beginning): each pair at least once.
    must: tuple = ()
    # Endpoints made or removed a second meanwhile.
    churn: float = 4


FAULTS = {
    "stop": Fault(
        "SIGSTOP of one daemon", 20, is_sick=True, may=frozenset({"alive", "suspect", "unreachable"}),
        must=(("others", "who", {"unreachable"}, 10),)),
    "one-way": Fault("packets from one host to another one dropped, one way, UDP and TCP", 30),
    "loss": Fault(f"20 % of the packets to every host's {PORT} lost", 30, churn=10),
    "kill": Fault(
        "kill -9 of one daemon, restarted at the end", 10, is_sick=True, may=frozenset({"alive", "suspect", "daemon-down"}),
        must=(("others", "who", {"daemon-down"}, 3),)),
    "udp": Fault(
        f"UDP {PORT} blocked between one host and all others, TCP open", 20,
        must=(("others", "who", {"udp-blocked"}, 15), ("who", "others", {"udp-blocked"}, 15))),
}

# ---------------------------------------------------------------------------------------------------------------------- namespaces

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class MeshError(Exception):
    pass


@contextlib.contextmanager
def inside(path):
    """This thread in another network namespace, for as long as it takes to open sockets there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(there)
        try:
            yield os.fstat(there).st_ino
        finally:
            enter(home)
    finally:
        os.close(there)
        os.close(home)


def enter(descriptor):
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


# All that was started, to end it; by the main thread alone, because a child ends with the thread that made it.
children = []


def spawn(command, **options):
    child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *command], stdin=subprocess.DEVNULL, **options)
    children.append(child)
    return child


def end(child):
    if child.poll() is None:
        child.kill()
    child.wait()
    if child in children:
        children.remove(child)


def run(command, text=None, check=True):
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise MeshError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip() or done.returncode}")
    return done.stdout


class Space:
    """A set of namespaces, held by a process."""

    def __init__(self, name, preparation="true"):
        script = f'hostname "$1"; ip link set lo up; {preparation}; echo ready; exec sleep infinity'
        self.name = name
        self.holder = spawn(
            ["unshare", "--net", "--mount", "--uts", "--propagation", "private", "sh", "-euc", script, "sh", name],
            stdout=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "ready\n":
            raise MeshError(f"the namespaces of {name} cannot be made")
        self.holder.stdout.close()

    def words(self, *command, net_only=False):
        """The words that run a command there."""
        spaces = ["--net"] if net_only else ["--net", "--mount", "--uts"]
        return ["nsenter", "--target", str(self.holder.pid), *spaces, "--", *command]

    def run(self, *command, text=None, check=True):
        return run(self.words(*command), text, check)

    def root(self, path):
        return f"/proc/{self.holder.pid}/root{path}"


# ---------------------------------------------------------------------------------------------------------------------------- HTTP


class Connection:
    """HTTP/1.1 over a unix socket, kept open. By hand: http.client takes a tenth of the time that is to be measured."""

    def __init__(self, path, timeout):
        self.path, self.timeout = path, timeout
        self.socket = None

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def exchange(self, head, body=b""):
        if self.socket is None:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(self.timeout)
        try:
            with contextlib.suppress(OSError):
                self.socket.getpeername()
                return self._exchange(head, body)
            self.close()
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(self.timeout)
            self.socket.connect(self.path)
            return self._exchange(head, body)
        except BaseException:
            self.close()
            raise

    def _exchange(self, head, body):
        self.socket.sendall(head + body)
        data = b""
        while (split := data.find(b"\r\n\r\n")) < 0:
            data += self._receive()
        header = data[:split].decode("latin-1").lower()
        length = re.search(r"\r\ncontent-length: *(\d+)", header)
        if length is None:
            raise MeshError(f"an answer without a length on {self.path}: {header!r}")
        data = data[split + 4:]
        while len(data) < int(length[1]):
            data += self._receive()
        return int(header.split(" ", 2)[1]), data

    def _receive(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, f"{self.path} closed")
        return data


class PluginError(Exception):
    pass


class Plugin(Connection):
    def call(self, method, request=None):
        body = b"" if request is None else json.dumps(request, separators=(",", ":")).encode() + b"\n"
        head = (f"POST /{method} HTTP/1.1\r\nHost: plugin.moby.localhost\r\nUser-Agent: Go-http-client/1.1\r\n"
                f"Content-Length: {len(body)}\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\n\r\n").encode()
        status, data = self.exchange(head, body)
        answer = json.loads(data)
        if status != 200 or answer.get("Err") or answer.get("Error"):
            raise PluginError(f"{method}: {answer.get('Err') or answer.get('Error') or status}")
        return answer


class Control(Connection):
    """What `swift-overlay node ls --format json` prints is this body, as it is; asked without a process for each time."""

    def get(self, path):
        status, data = self.exchange(f"GET {path} HTTP/1.1\r\nHost: swift-overlay\r\n\r\n".encode())
        if status != 200:
            raise MeshError(f"{path}: {status} {data!r}")
        return json.loads(data)


# ------------------------------------------------------------------------------------------------------------------------- netlink

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTNLGRP_NEIGH = 3
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NDA_DST, NDA_LLADDR = 1, 2
NUD_PERMANENT = 0x80
SIOCGIFNAME = 0x8910
AF_BRIDGE = 7
HEADER, NEIGHBOUR, ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBHiHBB"), struct.Struct("=HH")


def netlink_socket(groups=0):
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    netlink.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    netlink.bind((0, groups))
    return netlink


def neighbours(data):
    """(message type, family, link, state, address or None, MAC or None) of every neighbour message."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, _, _, _ = HEADER.unpack_from(data, offset)
        if kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
            family, _, _, link, state, _, _ = NEIGHBOUR.unpack_from(data, offset + HEADER.size)
            address = mac = None
            at, limit = offset + HEADER.size + NEIGHBOUR.size, offset + length
            while at + ATTRIBUTE.size <= limit:
                size, attribute = ATTRIBUTE.unpack_from(data, at)
                if attribute == NDA_DST:
                    address = data[at + 4:at + size]
                elif attribute == NDA_LLADDR:
                    mac = data[at + 4:at + size]
                at += max(size + 3 & ~3, 4)
            yield kind, family, link, state, address, mac
        elif kind == NLMSG_ERROR:
            raise OSError(-struct.unpack_from("=i", data, offset + HEADER.size)[0], "netlink")
        elif kind == NLMSG_DONE:
            yield None
        offset += length + 3 & ~3


def dump(netlink, family):
    netlink.send(HEADER.pack(HEADER.size + NEIGHBOUR.size, RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
                 + NEIGHBOUR.pack(family, 0, 0, 0, 0, 0, 0))
    rows = []
    while True:
        for row in neighbours(netlink.recv(1 << 17)):
            if row is None:
                return rows
            rows.append(row[1:])


# -------------------------------------------------------------------------------------------------------------------------- a host


def mac_text(mac):
    return mac.hex(":")


@dataclasses.dataclass
class Endpoint:
    host: "Host"
    id: str
    mac: str
    address: str = ""  # with its prefix length
    pool: str = ""
    # CLOCK_MONOTONIC, in ns: before and after each call.
    times: dict = dataclasses.field(default_factory=dict)

    @property
    def ip(self):
        return self.address.split("/")[0]


class Host:
    def __init__(self, mesh, number):
        self.mesh, self.number, self.name = mesh, number, f"h{number}"
        self.address = f"10.98.{number >> 8}.{number & 255}"
        self.mac = f"02:4d:00:00:{number >> 8:02x}:{number & 255:02x}"
        self.folder = mesh.folder / self.name
        self.run_folder = self.folder / "run"
        for part in ("netns", "docker/plugins", "swift-overlay", "docker/netns"):
            (self.run_folder / part).mkdir(parents=True)
        self.state_folder = mesh.state_root / self.name
        self.state_folder.mkdir(parents=True, exist_ok=True)
        self.log = mesh.log_folder / f"{self.name}.log"
        self.space = Space(self.name, f"mount --bind {self.run_folder} /run")
        self.plugin = Plugin(str(self.run_folder / "docker/plugins/swift-overlay.sock"), 30)
        self.control = Control(str(self.run_folder / "swift-overlay/control.sock"), 15)
        self.daemon = None
        self.network_id = os.urandom(32).hex()
        self.pool = None
        self.vni = None
        self.kernel = None  # sockets in the overlay's namespace

    # The daemon

    def start(self):
        with open(self.log, "ab") as log:
            self.daemon = spawn(
                self.space.words(
                    str(self.mesh.binary), "daemon", "--state-dir", str(self.state_folder / "swift-overlay"),
                    "--plugin-socket", "/run/docker/plugins/swift-overlay.sock",
                    "--control-socket", "/run/swift-overlay/control.sock", "--advertise-addr", self.address,
                    "--log-level", self.mesh.log_level),
                stdout=log, stderr=log)

    def wait(self, seconds=60):
        deadline = time.monotonic() + seconds
        for path in (self.control.path, self.plugin.path):
            while True:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                    if probe.connect_ex(path) == 0:
                        break
                if self.daemon.poll() is not None or time.monotonic() > deadline:
                    raise MeshError(f"the daemon of {self.name} does not start:\n{self.log_tail()}")
                time.sleep(0.02)

    def log_tail(self, lines=15):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def cli(self, *words):
        return self.space.run(str(self.mesh.binary), *words, "--control-socket", "/run/swift-overlay/control.sock")

    def states(self, control=None):
        """What this node says of each other one: (state, reason)."""
        nodes = (control or self.control).get("/nodes")
        return {node["name"]: (node["state"], node.get("reason") or "") for node in nodes if not node["isSelf"]}

    # What an engine says

    def create_network(self):
        call = self.plugin.call
        call("Plugin.Activate")
        call("NetworkDriver.GetCapabilities")
        call("IpamDriver.GetCapabilities")
        space = call("IpamDriver.GetDefaultAddressSpaces")["LocalDefaultAddressSpace"]
        pool = call("IpamDriver.RequestPool",
                    {"AddressSpace": space, "Pool": "", "SubPool": "", "Options": {"net": NETWORK}, "V6": False})
        self.pool = pool["PoolID"]
        # An engine asks for a gateway only where the pool came without one.
        gateway = pool["Data"].get("com.docker.network.gateway") or call("IpamDriver.RequestAddress", {
            "PoolID": self.pool, "Address": "", "Options": {"RequestAddressType": "com.docker.network.gateway"}})["Address"]
        call("NetworkDriver.CreateNetwork", {
            "NetworkID": self.network_id,
            "Options": {"com.docker.network.enable_ipv4": True, "com.docker.network.enable_ipv6": False,
                        "com.docker.network.generic": {}},
            "IPv4Data": [{"AddressSpace": space, "Gateway": gateway, "Pool": pool["Pool"]}], "IPv6Data": []})

    def attach(self):
        """All that an engine says to start a container. What it made is taken back as an engine does when a call fails."""
        mac = bytes([0x02, 0x42]) + os.urandom(4)
        endpoint = Endpoint(self, os.urandom(32).hex(), mac_text(mac), pool=self.pool)
        call, times, now = self.plugin.call, endpoint.times, time.monotonic_ns
        names = {"NetworkID": self.network_id, "EndpointID": endpoint.id}
        times["request"] = now()
        endpoint.address = call("IpamDriver.RequestAddress", {
            "PoolID": self.pool, "Address": "", "Options": {"com.docker.network.endpoint.macaddress": endpoint.mac}})["Address"]
        times["address"] = now()
        try:
            call("NetworkDriver.CreateEndpoint", {
                **names, "Interface": {"Address": endpoint.address, "AddressIPv6": "", "MacAddress": endpoint.mac},
                "Options": {"com.docker.network.endpoint.exposedports": [], "com.docker.network.portmap": []}})
            times["join"] = now()
            call("NetworkDriver.Join", {
                **names, "SandboxKey": f"/var/run/docker/netns/{endpoint.id[:12]}",
                "Options": {"com.docker.network.endpoint.exposedports": [], "com.docker.network.portmap": []}})
            times["joined"] = now()
            # Engine 28 asks this of every endpoint after it joined.
            call("NetworkDriver.EndpointOperInfo", names)
        except (PluginError, OSError):
            with contextlib.suppress(PluginError, OSError):
                self.leave(endpoint)
            with contextlib.suppress(PluginError, OSError):
                self.release(endpoint)
            raise
        return endpoint

    def leave(self, endpoint):
        endpoint.times["leave"] = time.monotonic_ns()
        self.plugin.call("NetworkDriver.Leave", {"NetworkID": self.network_id, "EndpointID": endpoint.id})

    def release(self, endpoint):
        self.plugin.call("NetworkDriver.DeleteEndpoint", {"NetworkID": self.network_id, "EndpointID": endpoint.id})
        self.plugin.call("IpamDriver.ReleaseAddress", {"PoolID": endpoint.pool, "Address": endpoint.ip})

    # The kernel's side

    def overlay_path(self):
        if self.vni is None:
            found = [network for network in self.control.get("/networks") if network["name"] == NETWORK]
            if not found:
                raise MeshError(f"{self.name} does not know the network {NETWORK}")
            self.vni = found[0]["vni"]
        return self.space.root(f"/run/netns/swov-{self.vni}")

    def rows(self):
        """What the kernel holds for the network, in words that can be compared and printed."""
        path = self.overlay_path()
        if self.kernel is None or self.kernel[0] != os.stat(path).st_ino:
            if self.kernel is not None:
                print(f"  {self.name}: the network's namespace was made anew")
            with inside(path) as identity:
                self.kernel = (identity, netlink_socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        _, netlink, query = self.kernel
        names = {}

        def name(link):
            if link not in names:
                reply = fcntl.ioctl(query, SIOCGIFNAME, struct.pack("=16si20x", b"", link))
                names[link] = reply[:16].rstrip(b"\0").decode()
            return names[link]

        rows = set()
        for family, link, state, address, mac in dump(netlink, AF_BRIDGE):
            if mac is None or (mac[0] & 1 and address is None) or name(link) == "lo":
                continue
            if address is not None:
                kind = "flood" if mac == bytes(6) else "tunnel"
                rows.add((kind, "" if kind == "flood" else mac_text(mac), socket.inet_ntoa(address)))
            elif not state & NUD_PERMANENT:  # permanent are the devices' own addresses
                rows.add(("bridge", mac_text(mac), name(link)))
        for family, link, state, address, mac in dump(netlink, socket.AF_INET):
            if state & NUD_PERMANENT and name(link) == "br0":
                rows.add(("neighbour", mac_text(mac), socket.inet_ntoa(address)))
        return rows

    def wanted(self, live):
        """The same for the union of live endpoints."""
        rows = set()
        for endpoint in live:
            rows.add(("neighbour", endpoint.mac, endpoint.ip))
            if endpoint.host is self:
                rows.add(("bridge", endpoint.mac, f"ve{endpoint.id[:12]}"))
            else:
                rows |= {("bridge", endpoint.mac, "vxlan0"), ("tunnel", endpoint.mac, endpoint.host.address),
                         ("flood", "", endpoint.host.address)}
        return rows

    # Faults

    def filter(self, rules):
        """Drops at the receiver, where the sender is told nothing. No rules: no filter."""
        text = "table inet so_mesh { }\ndelete table inet so_mesh\n"
        if rules:
            lines = "\n".join(f"{rule} counter drop" for rule in rules)
            text += "table inet so_mesh {\nchain in {\ntype filter hook input priority -200; policy accept;\n" + lines + "\n}\n}\n"
        run(self.space.words("nft", "-f", "-", net_only=True), text)

    def filtered(self):
        """Packets that it has dropped."""
        done = run(self.space.words("nft", "list", "ruleset", net_only=True))
        return sum(int(number) for number in re.findall(r"counter packets (\d+) bytes \d+ drop", done))


class Mesh:
    """All hosts, their switch, and what is to be undone."""

    def __init__(self, arguments):
        self.binary = find_binary(arguments.binary)
        self.log_level = arguments.log_level
        self.count = arguments.nodes
        self.hosts = []
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="so-mesh-", dir="/tmp"))
        run(["mount", "-t", "tmpfs", "-o", "mode=0700", "so-mesh", str(self.folder)])
        self.disk = None
        if arguments.state_dir_root:
            arguments.state_dir_root.mkdir(parents=True, exist_ok=True)
            self.disk = pathlib.Path(tempfile.mkdtemp(prefix="so-mesh-", dir=arguments.state_dir_root.resolve()))
        self.state_root = self.disk or self.folder
        self.log_folder = (arguments.logs or self.folder / "logs").resolve()
        self.log_folder.mkdir(parents=True, exist_ok=True)

    def up(self):
        print(f"{self.count} daemons of {self.binary} ({describe(self.binary)}), state on "
              + (f"disk ({self.disk})" if self.disk else "a tmpfs"))
        print(machine(), flush=True)
        began = time.monotonic()
        switch = Space("switch", "ip link add br0 type bridge forward_delay 0; ip link set br0 up")
        self.hosts = [Host(self, number) for number in range(1, self.count + 1)]
        lines = []
        for host in self.hosts:
            lines.append(f"link add {host.name} type veth peer name eth0 address {host.mac} netns {host.space.holder.pid}")
            lines.append(f"link set {host.name} master br0 up")
        run(switch.words("ip", "-batch", "-", net_only=True), "\n".join(lines) + "\n")
        for host in self.hosts:
            lines = [f"address add {host.address}/16 dev eth0", "link set eth0 up"]
            # The kernel's ARP table is one for all namespaces, and too small for many hosts that all talk to all.
            if self.count > 25:
                lines += [f"neighbour add {other.address} lladdr {other.mac} dev eth0 nud permanent"
                          for other in self.hosts if other is not host]
            run(host.space.words("ip", "-batch", "-", net_only=True), "\n".join(lines) + "\n")

        # A few at a time.
        token = None
        for start in range(0, self.count, 5):
            batch = self.hosts[start:start + 5]
            for host in batch:
                host.start()
            for host in batch:
                host.wait()
                if host.number == 1:
                    host.cli("init", "--default-addr-pool-mask-length", "16")
                    token = host.cli("join-token", "--quiet").strip()
                else:
                    host.cli("join", "--token", token, self.hosts[0].address)
        print(f"cluster up after {time.monotonic() - began:.1f} s", flush=True)

    def networks(self):
        """The network on every host. A machine too small for so many may keep the writer from answering in time: then once more, as a
        user would."""
        for host in self.hosts:
            for left in (2, 1, 0):
                try:
                    host.create_network()
                    break
                except (PluginError, OSError) as error:
                    print(f"  {host.name}: {error}" + ("; once more" if left else ""), flush=True)
                    if not left:
                        raise

    def down(self):
        for host in self.hosts:
            if host.daemon is not None and host.daemon.poll() is None:
                host.daemon.kill()
        for child in list(children):
            end(child)
        run(["umount", "--lazy", str(self.folder)], check=False)
        self.folder.rmdir()
        if self.disk is not None:
            shutil.rmtree(self.disk)

    def wait_well(self, seconds, report=True):
        """Until everybody says of everybody that it is well; the time it took, or None."""
        began = time.monotonic()
        names = {host.name for host in self.hosts}
        bad = {}
        while time.monotonic() - began < seconds:
            bad = {}
            for host in self.hosts:
                try:
                    said = host.states()
                except OSError as error:
                    bad[host.name] = str(error)
                    break
                wrong = {name: state for name, (state, _) in said.items() if state not in WELL}
                wrong.update({name: "not listed" for name in names - set(said) - {host.name}})
                if wrong:
                    bad[host.name] = wrong
                    break
            if not bad:
                return time.monotonic() - began
            time.sleep(0.05)
        if report:
            print(f"  not well within {seconds:.0f} s: {bad}")
        return None

    def wait_rows(self, live, seconds, hosts=None):
        """Until every kernel holds what is live and nothing else (C); the time it took, or None and what is wrong, printed."""
        began = time.monotonic()
        live = list(live)
        left = list(hosts or self.hosts)
        while True:
            looked = time.monotonic()
            differences = {}
            for host in left:
                try:
                    rows = host.rows()
                except FileNotFoundError:
                    rows = set()
                wanted = host.wanted(live)
                if rows != wanted:
                    differences[host] = (wanted - rows, rows - wanted)
            if not differences:
                return looked - began
            if looked - began > seconds:
                for host, (missing, surplus) in differences.items():
                    print(f"  {host.name} lacks {listed(missing)}; has too much {listed(surplus)}")
                return None
            time.sleep(0.02)


def listed(rows):
    rows = sorted(rows)
    text = ", ".join(" ".join(part for part in row if part) for row in rows[:4])
    return f"{len(rows)} rows" + (f" ({text}{', …' if len(rows) > 4 else ''})" if rows else "")


def find_binary(given):
    path = given or os.environ.get("SWIFT_OVERLAY_BINARY")
    if not path:
        path = pathlib.Path(__file__).resolve().parents[2] / ".build/release/swift-overlay"
    path = pathlib.Path(path).resolve()
    if not os.access(path, os.X_OK):
        raise MeshError(f"no such program: {path} (build it with `swift build -c release`, or give --binary PATH)")
    return path


def describe(binary):
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(binary.stat().st_mtime))
    kind = next((kind for kind in ("debug", "release") if kind in binary.parts), "build unknown")
    return f"{kind}, {binary.stat().st_size >> 20} MiB, of {made}"


def machine():
    load = os.getloadavg()
    return f"machine: {os.cpu_count()} cores, load {load[0]:.1f} {load[1]:.1f} {load[2]:.1f}"


def verdict(passed, text):
    print(f"{'PASS' if passed else 'FAIL'}  {text}", flush=True)
    return bool(passed)


# ------------------------------------------------------------------------------------------------------------------------ converge


class Watcher:
    """One process that listens in the overlay's namespace of every host and notes when a row came or went.

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
            # Reports go out when nothing more comes in.
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


def quantile(values, share):
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def line(values):
    """In milliseconds, from ns."""
    return "".join(f"{quantile(values, share) / 1e6:10.2f}" for share in (0.5, 0.99, 1))


def converge(mesh, arguments):
    mesh.up()
    mesh.networks()
    base = [host.attach() for host in mesh.hosts]
    if mesh.wait_rows(base, 30) is None or mesh.wait_well(30) is None:
        return verdict(False, "the mesh is not at rest")
    time.sleep(2)
    watcher = Watcher(mesh.hosts)
    # The first of each host may fetch a block of addresses, and warms its ways.
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


# -------------------------------------------------------------------------------------------------------------------------- faults


class Sampler(threading.Thread):
    """Asks one node twice a second what it says of the others."""

    PERIOD = 0.5

    def __init__(self, host, samples, lock):
        super().__init__(daemon=True)
        self.host, self.samples, self.lock = host, samples, lock
        self.stopping = threading.Event()
        self.control = Control(host.control.path, 1.0)

    def run(self):
        following = time.monotonic()
        while not self.stopping.wait(max(0, following - time.monotonic())):
            following = max(following + self.PERIOD, asked := time.monotonic())
            try:
                said, at = self.host.states(self.control), time.monotonic()
            except (OSError, MeshError, ValueError):
                said, at = None, asked
            with self.lock:
                self.samples.append((at, self.host.name, said))
        self.control.close()


class Churn(threading.Thread):
    """Endpoints come and go; what is live at the end is known for certain."""

    def __init__(self, live, hosts, rate, seed):
        super().__init__(daemon=True)
        self.live, self.hosts, self.rate = live, hosts, rate
        self.random = random.Random(seed)
        self.stopping = threading.Event()
        self.made = self.removed = 0
        self.errors = collections.Counter()
        self.slowest = 0.0

    def run(self):
        extra = []
        while not self.stopping.wait(1 / self.rate):
            began = time.monotonic()
            try:
                if len(extra) < 6 or len(extra) < 20 and self.random.random() < 0.5:
                    endpoint = self.random.choice(self.hosts).attach()
                    extra.append(endpoint)
                    self.live.append(endpoint)
                    self.made += 1
                else:
                    endpoint = extra.pop(self.random.randrange(len(extra)))
                    self.live.remove(endpoint)
                    endpoint.host.leave(endpoint)
                    endpoint.host.release(endpoint)
                    self.removed += 1
            except (PluginError, OSError) as error:
                self.errors[f"{type(error).__name__}: {error}"] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)

    def finish(self):
        self.stopping.set()
        self.join()


def ranges(names):
    """h1 h2 h3 h5 as h1-h3 h5."""
    numbers = sorted(int(name[1:]) for name in names)
    parts = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return " ".join(f"h{first}" if first == last else f"h{first}-h{last}" for first, last in parts)


def time_line(samples, began, healed):
    """One line for what several nodes began to say, of the same nodes, in the same second."""
    last, changes = {}, []
    for at, observer, said in samples:
        if said is None:
            said = {"itself": ("no answer", "")}
        else:
            said = {"itself": ("answers", ""), **said}
        for subject, (state, reason) in said.items():
            before = last.get((observer, subject))
            if before is None or before != state:
                if before is not None or state not in WELL | {"answers"}:
                    changes.append((at, observer, subject, before, state, reason))
                last[observer, subject] = state
    groups = []  # (first, last, observers, subjects, before, state, reasons)
    for at, observer, subject, before, state, reason in changes:
        for group in groups:
            if at - group[0] < 1.5 and group[4:6] == [before, state] and (subject == "itself") == (group[3] == {"itself"}):
                pairs = group[7]
                pairs.add((observer, subject))
                group[1], group[2], group[3] = at, group[2] | {observer}, group[3] | {subject}
                group[6][reason] += 1
                break
        else:
            groups.append([at, at, {observer}, {subject}, before, state, collections.Counter([reason]), {(observer, subject)}])
    lines = []
    for first, end_, _, _, before, state, reasons, pairs in groups:
        when = f"{first - began:+6.1f}" + (f"…{end_ - began:.1f} s" if end_ - first > 0.05 else " s")
        reason = "; ".join(text for text, _ in reasons.most_common(2) if text)
        for observers, subjects in stars(pairs):
            if subjects == {"itself"}:
                text = f"{ranges(observers)} {'answer again' if state == 'answers' else 'do not answer'}"
            else:
                text = f"{ranges(observers)} of {ranges(subjects)}: {before or '-'} → {state}" + (f"   [{reason}]" if reason else "")
            lines.append((first, f"  {when:16} {text}"))
    lines.append((healed, f"  {healed - began:+6.1f} s         -- the fault ends --"))
    for _, text in sorted(lines, key=lambda entry: entry[0]):
        print(text)


def stars(pairs):
    """Pairs as few groups of several nodes and one."""
    pairs = set(pairs)
    while pairs:
        by = [{}, {}]
        for pair in pairs:
            for side in (0, 1):
                by[side].setdefault(pair[side], set()).add(pair)
        _, side, _, group = max(
            (len(group), side, name, group) for side in (1, 0) for name, group in by[side].items())
        pairs -= group
        yield {observer for observer, _ in group}, {subject for _, subject in group}


def begin_fault(mesh, name, who, other):
    if name == "stop":
        os.kill(who.daemon.pid, signal.SIGSTOP)
    elif name == "kill":
        end(who.daemon)
    elif name == "one-way":
        other.filter([f"ip saddr {who.address}"])
    elif name == "loss":
        for host in mesh.hosts:
            host.filter([f"meta l4proto {{ tcp, udp }} th dport {PORT} numgen random mod 100 < 20",
                         f"tcp sport {PORT} numgen random mod 100 < 20"])
    elif name == "udp":
        for host in mesh.hosts:
            host.filter([f"udp dport {PORT}" if host is who else f"ip saddr {who.address} udp dport {PORT}"])


def end_fault(mesh, name, who):
    if name == "stop":
        os.kill(who.daemon.pid, signal.SIGCONT)
    elif name == "kill":
        who.plugin.close()
        who.control.close()
        who.start()
    else:
        for host in mesh.hosts:
            host.filter([])


def check_states(fault, samples, began, healed, who, others):
    """The table at the top against what was said."""
    passed = True
    false_claims, odd = [], collections.Counter()
    for at, observer, said in samples:
        sick_now = fault.is_sick and began <= at
        for subject, (state, reason) in (said or {}).items():
            if sick_now and observer == who.name and at < healed:
                continue
            if sick_now and subject == who.name and at < healed + WITHIN["healthy again"]:
                if at < healed and state not in fault.may:
                    odd[state] += 1
            elif state in NEVER_OF_HEALTHY:
                false_claims.append((at - began, observer, subject, state, reason))
    text = "no healthy node said of a healthy one that it is " + " or ".join(sorted(NEVER_OF_HEALTHY))
    if false_claims:
        pairs = collections.Counter((observer, subject, state) for _, observer, subject, state, _ in false_claims)
        shown = ", ".join(f"{o} of {s}: {state}" for (o, s, state), _ in pairs.most_common(6))
        text += f": {len(pairs)} pairs did, first at {false_claims[0][0]:+.1f} s ({shown}{', …' if len(pairs) > 6 else ''})"
    passed &= verdict(not false_claims, text)
    if fault.is_sick:
        passed &= verdict(not odd, f"of {who.name}, nobody said but {', '.join(sorted(fault.may))}"
                          + (f": {', '.join(odd)}" if odd else ""))
    groups = {"who": [who.name], "others": [host.name for host in others]}
    for observers, subjects, states, within in fault.must:
        first = {}
        for at, observer, said in samples:
            for subject, (state, _) in (said or {}).items():
                if began <= at < healed and observer in groups[observers] and subject in groups[subjects] and state in states:
                    first.setdefault((observer, subject), at - began)
        pairs = [(o, s) for o in groups[observers] for s in groups[subjects]]
        missing = [pair for pair in pairs if first.get(pair, math.inf) > within]
        slowest = f"; the last after {max(first.values()):.1f} s" if first else ""
        passed &= verdict(not missing, f"{ranges(groups[observers])} of {ranges(groups[subjects])}: {' or '.join(sorted(states))} within "
                          f"{within} s, in {len(pairs) - len(missing)} of {len(pairs)} pairs{slowest}")
    return passed


def one_fault(mesh, name, live, base):
    fault = FAULTS[name]
    # Not the first: it is the catalogue's writer, and its absence is another story.
    who, other = mesh.hosts[min(2, mesh.count - 1)], mesh.hosts[min(4, mesh.count - 2)]
    others = [host for host in mesh.hosts if host is not who]
    whom = f"{who.name} to {other.name}" if name == "one-way" else "" if name == "loss" else who.name
    print(f"\n== {name}: {fault.title}, {fault.seconds:.0f} s" + (f" ({whom})" if whom else ""), flush=True)
    samples, lock = [], threading.Lock()
    samplers = [Sampler(host, samples, lock) for host in mesh.hosts]
    for sampler in samplers:
        sampler.start()
    time.sleep(1)
    churn = Churn(live, others if fault.is_sick else mesh.hosts, fault.churn, seed=1)
    wanted = {host: {row for row in host.wanted(base) if row[0] != "flood"} for host in mesh.hosts}
    lost, looks = collections.Counter(), 0
    began = time.monotonic()
    begin_fault(mesh, name, who, other)
    churn.start()
    # What is in the kernel meanwhile: the rows of endpoints that nobody removed stay, on every host and of every host.
    while time.monotonic() - began < fault.seconds:
        looks += 1
        for host in mesh.hosts:
            for row in wanted[host] - host.rows():
                lost[host.name, row] += 1
        time.sleep(0.25)
    churn.finish()
    dropped = sum(host.filtered() for host in mesh.hosts)
    healed = time.monotonic()
    end_fault(mesh, name, who)
    if name == "kill":
        who.wait()
        print(f"  the daemon serves {time.monotonic() - healed:.2f} s after its restart")
    rows = mesh.wait_rows(live, 60)
    rows_after = time.monotonic() - healed if rows is not None else None
    well = mesh.wait_well(60)
    well_after = time.monotonic() - healed if well is not None else None
    time.sleep(2 * Sampler.PERIOD)
    for sampler in samplers:
        sampler.stopping.set()
    for sampler in samplers:
        sampler.join()
    samples.sort(key=lambda sample: sample[0])
    time_line(samples, began, healed)
    print(f"  meanwhile {churn.made} endpoints made, {churn.removed} removed, the slowest in {1000 * churn.slowest:.0f} ms; "
          f"{sum(churn.errors.values())} refused; {dropped} packets dropped" + "".join(f"\n    {count} × {text}" for text, count in churn.errors.most_common(5)))

    passed = check_states(fault, samples, began, healed, who, others)
    passed &= verdict(not lost, f"in {looks} looks, no row of a live endpoint was missing on any host during the fault"
                      + (f": {len(lost)} were, e.g. {next(iter(lost))}" if lost else ""))
    passed &= verdict(rows_after is not None and rows_after <= WITHIN["rows"],
                      "C: every kernel holds the rows and neighbours of the "
                      f"{len(live)} live endpoints and no others, {seconds(rows_after)} after the end of the fault; limit {WITHIN['rows']:.0f} s")
    passed &= verdict(well_after is not None and well_after <= WITHIN["well"],
                      f"everybody is {' or '.join(sorted(WELL))} to everybody {seconds(well_after)} after the end of the fault; limit "
                      f"{WITHIN['well']:.0f} s")
    return passed


def seconds(value):
    return "never" if value is None else f"{value:.2f} s"


def faults(mesh, arguments):
    names = arguments.only.split(",") if arguments.only else list(FAULTS)
    for name in names:
        if name not in FAULTS:
            raise MeshError(f"no such fault: {name} ({', '.join(FAULTS)})")
    mesh.up()
    mesh.networks()
    base = [host.attach() for host in mesh.hosts for _ in range(2)]
    live = list(base)
    if mesh.wait_rows(live, 30) is None or mesh.wait_well(30) is None:
        return verdict(False, "the mesh is not at rest")
    said = json.loads(mesh.hosts[0].cli("node", "ls", "--format", "json"))
    print(f"states are read from the control socket (what `node ls --format json` prints: {len(said)} nodes, fields "
          f"{', '.join(sorted(said[0]))})")
    results = {}
    for name in names:
        results[name] = one_fault(mesh, name, live, base)
        for endpoint in [endpoint for endpoint in live if endpoint not in base]:
            endpoint.host.leave(endpoint)
            endpoint.host.release(endpoint)
            live.remove(endpoint)
        if mesh.wait_rows(live, 30) is None or mesh.wait_well(60) is None:
            results[name] = verdict(False, "the mesh does not come to rest")
            break
    print()
    for name, passed in results.items():
        verdict(passed, name)
    return all(results.values()) and len(results) == len(names)


# ---------------------------------------------------------------------------------------------------------------------------- idle


class Usage:
    """What one daemon used up to now."""

    COUNTERS = ("sent_udp", "sent_tcp", "received_udp", "received_tcp")

    def __init__(self, host):
        self.at = time.monotonic()
        self.ran = 0
        task = pathlib.Path(f"/proc/{host.daemon.pid}/task")
        for thread in task.iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                self.ran += int((thread / "schedstat").read_text().split()[0])
        self.counters = {}
        listing = json.loads(run(host.space.words("nft", "-j", "list", "counters", "table", "inet", "so_mesh_count", net_only=True)))
        for entry in listing["nftables"]:
            if "counter" in entry:
                counter = entry["counter"]
                self.counters[counter["name"]] = (counter["packets"], counter["bytes"])

    def since(self, earlier):
        span = self.at - earlier.at
        rates = {"core": (self.ran - earlier.ran) / 1e9 / span}
        for direction in ("sent", "received"):
            packets = octets = payload = 0
            for kind, header in (("udp", 28), ("tcp", 0)):
                ours, theirs = self.counters[f"{direction}_{kind}"], earlier.counters[f"{direction}_{kind}"]
                packets += ours[0] - theirs[0]
                octets += ours[1] - theirs[1]
                payload += ours[1] - theirs[1] - header * (ours[0] - theirs[0])
            rates[f"{direction} packets"], rates[f"{direction} bytes"] = packets / span, octets / span
            rates[f"{direction} payload"] = payload / span
        return rates


COUNTING = f"""
table inet so_mesh_count {{
    counter sent_udp {{ }}
    counter sent_tcp {{ }}
    counter received_udp {{ }}
    counter received_tcp {{ }}
    chain out {{
        type filter hook output priority 0; policy accept;
        udp dport {PORT} counter name sent_udp
        tcp dport {PORT} counter name sent_tcp
        tcp sport {PORT} counter name sent_tcp
    }}
    chain in {{
        type filter hook input priority 0; policy accept;
        udp dport {PORT} counter name received_udp
        tcp dport {PORT} counter name received_tcp
        tcp sport {PORT} counter name received_tcp
    }}
}}
"""


def memory(pid):
    found = {}
    for path, keys in ((f"/proc/{pid}/status", ("VmRSS", "RssAnon", "RssFile")), (f"/proc/{pid}/smaps_rollup", ("Pss",))):
        for text in pathlib.Path(path).read_text().splitlines():
            key, _, value = text.partition(":")
            if key in keys:
                found[key] = 1024 * int(value.split()[0])
    return found


def idle(mesh, arguments):
    mesh.up()
    began = time.monotonic()
    mesh.networks()
    live = [host.attach() for host in mesh.hosts[:arguments.endpoints]]
    print(f"network on {mesh.count} nodes, {len(live)} endpoints on as many of them, after {time.monotonic() - began:.1f} s", flush=True)
    well = mesh.wait_well(120)
    rows = mesh.wait_rows(live, 60, hosts=mesh.hosts[:arguments.endpoints])
    print(f"everybody {' or '.join(sorted(WELL))} to everybody: {seconds(well)}; rows everywhere: {seconds(rows)}", flush=True)
    for host in mesh.hosts:
        run(host.space.words("nft", "-f", "-", net_only=True), COUNTING)
    time.sleep(10)

    def busy():
        with open("/proc/stat") as file:
            fields = [int(word) for word in file.readline().split()[1:9]]
        return sum(fields) - fields[3] - fields[4], sum(fields)

    before = [Usage(host) for host in mesh.hosts]
    machine_before = busy()
    time.sleep(max(1, arguments.seconds - (time.monotonic() - before[0].at)))
    machine_after = busy()
    rates = [Usage(host).since(earlier) for host, earlier in zip(mesh.hosts, before)]
    for host, rate in zip(mesh.hosts, rates):
        rate.update(memory(host.daemon.pid))
    alive = mesh.wait_well(5)

    share = (machine_after[0] - machine_before[0]) / max(1, machine_after[1] - machine_before[1])
    print(f"\n{mesh.count} daemons idle for {arguments.seconds} s; the machine was {100 * share:.0f} % busy. {machine()}")
    print(f"Bytes are those of IP packets on {PORT}, headers and all; payload is without IP and UDP headers.")
    print(f"\n{'':26}{'h1 (writer)':>14}{'h2':>14}{'median':>14}{'max':>14}")
    for key, unit, factor in (
        ("VmRSS", "MB", 1e-6), ("RssAnon", "MB", 1e-6), ("RssFile", "MB", 1e-6), ("Pss", "MB", 1e-6), ("core", "% of a core", 100),
        ("sent bytes", "kB/s", 1e-3), ("sent payload", "kB/s", 1e-3), ("sent packets", "/s", 1), ("received bytes", "kB/s", 1e-3),
        ("received packets", "/s", 1),
    ):
        values = [rate[key] * factor for rate in rates]
        shown = (values[0], values[min(1, len(values) - 1)], statistics.median(values), max(values))
        print(f"{key + ', ' + unit:26}" + "".join(f"{value:14.3f}" for value in shown))
    print()

    def middle(key):
        return statistics.median(rate[key] for rate in rates)

    passed = verdict(middle("VmRSS") <= IDLE["resident"],
                     f"resident {middle('VmRSS') / 1e6:.1f} MB (median); target {IDLE['resident'] / 1e6:.0f} MB")
    passed &= verdict(middle("core") <= IDLE["core"],
                      f"{100 * middle('core'):.2f} % of a core (median); target {100 * IDLE['core']:.1f} %")
    passed &= verdict(middle("sent bytes") <= IDLE["sent"],
                      f"{middle('sent bytes') / 1000:.2f} kB/s sent (median); target {IDLE['sent'] / 1000:.1f} kB/s")
    passed &= verdict(well is not None and alive is not None, "everybody was well to everybody, before and after")
    passed &= verdict(rows is not None, "every kernel held the rows of the live endpoints")
    return passed


# ---------------------------------------------------------------------------------------------------------------------------- main


def main():
    parser = argparse.ArgumentParser(
        prog="mesh", description="swift-overlay daemons on real sockets, without engines: N hosts in namespaces on one bridge; this "
        "script says to their plugin sockets what engines say. Exit 1 when a target is missed.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--binary", help="default: $SWIFT_OVERLAY_BINARY, else the release build of this checkout")
    common.add_argument("--state-dir-root", type=pathlib.Path, metavar="DIR", help="state on this disk; default: a tmpfs")
    common.add_argument("--logs", type=pathlib.Path, metavar="DIR", help="keep the daemons' logs there")
    common.add_argument("--log-level", default="info")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("converge", parents=[common], help="address handed out → row on all other nodes")
    one.add_argument("--nodes", type=int, default=10)
    one.add_argument("--samples", type=int, default=200)
    one.add_argument("--pause", type=float, default=20, metavar="MS", help="between samples (default 20)")
    two = commands.add_parser("faults", parents=[common], help="what nodes say, and what kernels hold, through faults")
    two.add_argument("--nodes", type=int, default=10)
    two.add_argument("--only", metavar="FAULT[,FAULT…]", help=f"of {', '.join(FAULTS)}")
    three = commands.add_parser("idle", parents=[common], help="memory, CPU and packets of idle daemons")
    three.add_argument("--nodes", type=int, default=100)
    three.add_argument("--seconds", type=int, default=60)
    three.add_argument("--endpoints", type=int, default=10, help="one each on so many nodes (default 10)")
    arguments = parser.parse_args()
    if not 2 <= arguments.nodes <= 1000 or arguments.command == "faults" and arguments.nodes < 4:
        parser.error("so many nodes are not possible")

    def stop(number, _):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    sys.stdout.reconfigure(line_buffering=True)
    mesh = None
    try:
        mesh = Mesh(arguments)
        passed = {"converge": converge, "faults": faults, "idle": idle}[arguments.command](mesh, arguments)
    except (MeshError, PluginError, OSError) as error:
        print(f"mesh: {type(error).__name__}: {error}", file=sys.stderr)
        passed = False
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if mesh is not None:
            mesh.down()
    sys.exit(0 if passed else 1)


main()
