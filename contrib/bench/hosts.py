"""Hosts in network namespaces on one bridge, their daemons, and the calls of an engine; standard library only.

A host is a network, mount and UTS namespace with its own /run, held by a sleeping process. The namespaces have no names: they end with
that process, and it ends with this script, like every daemon. The machine's own network never sees the hosts; they hang on one bridge
in a separate namespace.

The script plays the engine of every host: it calls the plugin's socket as Docker Engine 28 does, call by call. Nobody moves the
container's end of a veth pair into a sandbox, so it stays in the host's namespace. Its name comes from the endpoint's id, so none clash.
"""

import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import json
import math
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time

from netlink import AF_BRIDGE, NUD_PERMANENT, SIOCGIFNAME, dump, netlink_socket

NETWORK = "mesh"
PORT = 7947
# States that all nodes report for all nodes when nothing is wrong.
WELL = {"alive"}

# ----------------------------------------------------------------------------------------------------------------------- namespaces

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class MeshError(Exception):
    pass


@contextlib.contextmanager
def inside(path):
    """Moves this thread into another network namespace while it opens sockets there."""
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


# Every process that was started, to end it. Started by the main thread only, because a child ends with its parent thread.
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
        """Command prefix that runs a command there."""
        spaces = ["--net"] if net_only else ["--net", "--mount", "--uts"]
        return ["nsenter", "--target", str(self.holder.pid), *spaces, "--", *command]

    def run(self, *command, text=None, check=True):
        return run(self.words(*command), text, check)

    def root(self, path):
        return f"/proc/{self.holder.pid}/root{path}"


# ----------------------------------------------------------------------------------------------------------------------------- HTTP

class Connection:
    """HTTP/1.1 over a Unix socket that is kept open. Written by hand, as http.client takes a tenth of the time to be measured."""

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
    """Same body as `swift-overlay node ls --format json` prints, without a process per call."""

    def get(self, path):
        status, data = self.exchange(f"GET {path} HTTP/1.1\r\nHost: swift-overlay\r\n\r\n".encode())
        if status != 200:
            raise MeshError(f"{path}: {status} {data!r}")
        return json.loads(data)


# --------------------------------------------------------------------------------------------------------------------------- a host

def mac_text(mac):
    return mac.hex(":")


@dataclasses.dataclass
class Endpoint:
    host: "Host"
    id: str
    mac: str
    address: str = ""  # with its prefix length
    pool: str = ""
    # CLOCK_MONOTONIC before and after each call, in ns.
    times: dict = dataclasses.field(default_factory=dict)

    @property
    def ip(self):
        return self.address.split("/")[0]


class Host:
    def __init__(self, mesh, number):
        self.mesh, self.number, self.name = mesh, number, f"{mesh.prefix}{number}"
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
                    str(self.mesh.binaries.get(self.number, self.mesh.binary)), "daemon", "--state-dir", str(self.state_folder / "swift-overlay"),
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
        """State and reason that this node reports for each other one."""
        nodes = (control or self.control).get("/nodes")
        return {node["name"]: (node["state"], node.get("reason") or "") for node in nodes if not node["isSelf"]}

    # Calls of an engine

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
        """Makes the calls of an engine that starts a container, and undoes them as an engine does when one fails."""
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
        """State of the kernel for the network, in a form that can be compared and printed."""
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
                try:
                    reply = fcntl.ioctl(query, SIOCGIFNAME, struct.pack("=16si20x", b"", link))
                    names[link] = reply[:16].rstrip(b"\0").decode()
                except OSError as error:
                    # It disappeared after its rows were read.
                    if error.errno != errno.ENODEV:
                        raise
                    names[link] = "gone"
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
        """Expected state: the same for the union of live endpoints."""
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
        """Drops packets at the receiver, so that the sender gets no error. Without rules, removes the filter."""
        text = "table inet so_mesh { }\ndelete table inet so_mesh\n"
        if rules:
            lines = "\n".join(f"{rule} counter drop" for rule in rules)
            text += "table inet so_mesh {\nchain in {\ntype filter hook input priority -200; policy accept;\n" + lines + "\n}\n}\n"
        run(self.space.words("nft", "-f", "-", net_only=True), text)

    def filtered(self):
        """Number of packets that the filter has dropped."""
        done = run(self.space.words("nft", "list", "ruleset", net_only=True))
        return sum(int(number) for number in re.findall(r"counter packets (\d+) bytes \d+ drop", done))


class Mesh:
    """All hosts, their switch, and what to undo at the end."""

    def __init__(self, arguments):
        self.binary = find_binary(arguments.binary)
        # Other binaries, by the number of a host.
        self.binaries = {}
        self.log_level = arguments.log_level
        self.count = arguments.nodes
        # Size of the subnets: large for one network with many addresses, small for many networks.
        self.mask_length = 24 if arguments.command == "create" else 16
        self.hosts = []
        # Name to search for in a capture.
        self.prefix = "plainhost" if arguments.command == "secrecy" else "h"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="so-mesh-", dir="/tmp"))
        run(["mount", "-t", "tmpfs", "-o", "mode=0700", "so-mesh", str(self.folder)])
        self.disk = None
        if arguments.state_dir_root:
            arguments.state_dir_root.mkdir(parents=True, exist_ok=True)
            self.disk = pathlib.Path(tempfile.mkdtemp(prefix="so-mesh-", dir=arguments.state_dir_root.resolve()))
        self.state_root = self.disk or self.folder
        self.log_folder = (arguments.logs or self.folder / "logs").resolve()
        self.log_folder.mkdir(parents=True, exist_ok=True)

    def up(self, ready=None):
        """Starts all. Calls `ready` with the switch before the first daemon starts."""
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
            # All namespaces share the kernel's ARP table, which is too small for many hosts that all talk to each other.
            if self.count > 25:
                lines += [f"neighbour add {other.address} lladdr {other.mac} dev eth0 nud permanent"
                          for other in self.hosts if other is not host]
            run(host.space.words("ip", "-batch", "-", net_only=True), "\n".join(lines) + "\n")

        if ready is not None:
            ready(switch)
        # A few at a time.
        token = None
        for start in range(0, self.count, 5):
            batch = self.hosts[start:start + 5]
            for host in batch:
                host.start()
            for host in batch:
                host.wait()
                if host.number == 1:
                    host.cli("init", "--default-addr-pool-mask-length", str(self.mask_length))
                    token = host.cli("join-token", "--quiet").strip()
                else:
                    host.cli("join", "--token", token, self.hosts[0].address)
        print(f"cluster up after {time.monotonic() - began:.1f} s", flush=True)

    def networks(self):
        """Creates the network on every host. On a machine too small for so many, the writer may not answer in time; then it is tried once
        more, as a user would."""
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
        """Waits until all nodes report all nodes as well. Returns the time it took, or None."""
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
        """Waits until every kernel holds what is live and nothing else (C). Returns the time it took; else prints what is wrong, and returns None."""
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


# ------------------------------------------------------------------------------------------------------------------ what is printed


def quantile(values, share):
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def line(values):
    """Nanoseconds as text in milliseconds."""
    return "".join(f"{quantile(values, share) / 1e6:10.2f}" for share in (0.5, 0.99, 1))


def seconds(value):
    return "never" if value is None else f"{value:.2f} s"
