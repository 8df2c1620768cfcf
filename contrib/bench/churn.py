"""The working half of `churn`: churn.py SIDE MINUTES ENDPOINTS SEED (SOCKET INIT ADDRESS)…; standard library only.

The truth is what the engines say of the containers that run. It is compared with the rows in the kernels, with the names that
swift-overlay reports, and with who answers whom.
"""

import collections
import contextlib
import json
import os
import pathlib
import random
import select
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
from engine_api import Engine, EngineError  # noqa: E402
from hosts import Control, inside, machine, mac_text, verdict  # noqa: E402
from netlink import AF_BRIDGE, HEADER, NUD_PERMANENT, dump, netlink_socket  # noqa: E402

NETWORK = "bench"
IMAGE = "busybox:local"
LAB = pathlib.Path(__file__).resolve().parents[1] / "lab"
QUIET = 10  # seconds between the last of all and the look
CUT = (10, 30)  # seconds of a partition
LOSS = 1  # percent
KILL_EVERY = (5, 15)  # seconds between kills
LEFT = 75  # seconds in which an address that nobody has is given up


def lab(*words):
    """Runs one of the lab's small scripts."""
    done = subprocess.run([str(LAB / words[0]), *map(str, words[1:])], capture_output=True, text=True)
    if done.returncode:
        print(f"  {' '.join(map(str, words))}: {done.stderr.strip()[-200:]}", flush=True)


class Host:
    def __init__(self, number, path, init, address, count):
        self.number, self.path, self.init, self.address = number, path, int(init), address
        self.name = f"host{number}"
        self.containers = [f"k{number}-{index}" for index in range(count)]
        self.run = f"/proc/{init}/root/run"

    def create(self, engine, name, network):
        body = {"Image": IMAGE, "Cmd": ["sleep", "1000000"], "StopTimeout": 0,
                "HostConfig": {"NetworkMode": network, "RestartPolicy": {"Name": "always"}}}
        engine.call("POST", f"/containers/create?name={name}", body)
        engine.call("POST", f"/containers/{name}/start")

    def running(self, engine):
        """{name: (its state, its interface on the network or None)} of all containers that are there."""
        found = {}
        for listed in engine.call("GET", "/containers/json?all=1"):
            name = listed["Names"][0].lstrip("/")
            with contextlib.suppress(EngineError):
                said = engine.call("GET", f"/containers/{name}/json")
                found[name] = (said["State"], said["NetworkSettings"]["Networks"].get(NETWORK))
        return found


class Churn(threading.Thread):
    """Load on one host: connects and disconnects, now and then a container that goes for good or restarts."""

    freed = collections.deque(maxlen=64)  # addresses that were given up lately, on any host
    stopping = threading.Event()
    lock = threading.Lock()
    done, refused = collections.Counter(), collections.Counter()
    reused = 0

    def __init__(self, host, seed):
        super().__init__(daemon=True)
        self.host, self.random = host, random.Random(seed)
        self.engine = Engine(host.path)
        self.connected = {}

    def step(self):
        name = self.random.choice(self.host.containers)
        dice = self.random.random()
        if name not in self.connected:
            address = None
            if self.freed and self.random.random() < 0.5:
                with contextlib.suppress(IndexError):
                    address = self.freed.popleft()
            self.engine.connect(NETWORK, name, address)
            self.connected[name] = self.engine.address(NETWORK, name)
            with Churn.lock:
                Churn.reused += address is not None
            return "connected"
        if dice < 0.04:
            self.engine.call("POST", f"/containers/{name}/restart?t=0")
            self.connected[name] = self.engine.address(NETWORK, name)
            return "restarted"
        address = self.connected.pop(name)
        if dice < 0.08:
            self.engine.remove(name)
            self.host.create(self.engine, name, NETWORK)
            self.connected[name] = self.engine.address(NETWORK, name)
            self.freed.append(address)
            return "replaced"
        self.engine.disconnect(NETWORK, name)
        self.freed.append(address)
        return "disconnected"

    def learn(self):
        """Asks the engine again, after an answer that did not come or said no."""
        found = self.host.running(self.engine)
        self.connected = {name: network["IPAddress"] for name, (_, network) in found.items() if network and network["IPAddress"]}
        for name in self.host.containers:
            # Left half removed by an engine that was killed.
            if name in found and found[name][0]["Status"] in ("dead", "created"):
                self.engine.remove(name)
                del found[name]
            if name not in found:
                self.host.create(self.engine, name, "bridge")

    def run(self):
        while not self.stopping.is_set():
            try:
                done = self.step()
                with Churn.lock:
                    Churn.done[done] += 1
            except Exception as error:  # the engine may be dead, or the answer half of one
                text = str(error) or type(error).__name__
                with Churn.lock:
                    Churn.refused[text[:160] if isinstance(error, EngineError) else type(error).__name__] += 1
                self.engine = Engine(self.host.path)
                self.stopping.wait(0.2)
                with contextlib.suppress(Exception):
                    self.learn()


class Faults(threading.Thread):
    """Partitions, and kills where `kills` says so."""

    def __init__(self, hosts, seed, kills, stopping):
        super().__init__(daemon=True)
        self.hosts, self.random, self.kills, self.stopping = hosts, random.Random(seed), kills, stopping
        self.count = collections.Counter()

    def partition(self):
        one = self.random.choice(self.hosts)
        others = [host for host in self.hosts if host is not one]
        if self.random.random() < 0.5:
            others = [self.random.choice(others)]
        for other in others:
            lab("partition", one.number, other.number)
        self.stopping.wait(self.random.uniform(*CUT))
        for other in others:
            lab("heal", one.number, other.number)
        self.count["partitions"] += 1

    def kill(self):
        host = self.random.choice(self.hosts)
        what = self.random.choice([["daemon"], ["daemon"], ["engine"], ["daemon", "engine"], ["engine", "daemon"]])
        for one in what:
            lab(one, host.number, "kill")
        self.stopping.wait(self.random.uniform(0, 5))
        for one in ("daemon", "engine"):
            if one in what:
                lab(one, host.number, "start")
        self.count[" and ".join(sorted(what)) + " killed"] += 1

    def run(self):
        def repeat(act, pause):
            while not self.stopping.wait(self.random.uniform(*pause)):
                act()

        threads = [threading.Thread(target=repeat, args=(self.partition, (1, 10)))]
        if self.kills:
            threads.append(threading.Thread(target=repeat, args=(self.kill, KILL_EVERY)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


# ------------------------------------------------------------------------------------------------------------------------- the truth

One = collections.namedtuple("One", "host name ip mac endpoint pid")


def settle(hosts, engines):
    """Waits until every container runs as its restart policy says. Returns those that do not."""
    deadline = time.monotonic() + 180
    while True:
        wrong = {}
        for host, engine in zip(hosts, engines):
            try:
                for name, (state, _) in host.running(engine).items():
                    if state["Status"] != "running":
                        wrong[f"{host.name} {name}"] = f"{state['Status']} {state.get('Error') or ''}"[:200]
            except (OSError, EngineError) as error:
                wrong[host.name] = str(error)
                engine.connection = None
        if not wrong or time.monotonic() > deadline:
            return wrong
        time.sleep(0.5)


def has_address(one):
    """True if the container has the address. An engine that was killed between two steps may say so of one that has not."""
    with inside(f"/proc/{one.host.init}/root/proc/{one.pid}/ns/net"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((one.ip, 0))
        except OSError:
            return False
    return True


def truth(hosts, engines, untrue=None):
    found = []
    for host, engine in zip(hosts, engines):
        for name, (state, network) in host.running(engine).items():
            if state["Running"] and network and network["IPAddress"]:
                one = One(host, name, network["IPAddress"], network["MacAddress"], network["EndpointID"], state["Pid"])
                if has_address(one):
                    found.append(one)
                elif untrue is not None:
                    untrue.append(one)
    return found


def listed(rows):
    rows = sorted(" ".join(map(str, row)) for row in rows)
    return f"{len(rows)}" + (f" ({'; '.join(rows[:3])}{'; …' if len(rows) > 3 else ''})" if rows else "")


def compare(what, host, wanted, rows):
    """Prints the difference. Returns the numbers of rows that are missing, and that are wrong."""
    if wanted != rows:
        print(f"  {host.name}, {what}: missing {listed(wanted - rows)}, too many {listed(rows - wanted)}")
    return len(wanted - rows), len(rows - wanted)


def kernel(path, ports):
    """Rows of the namespace: where each MAC is, and which MAC each address has."""
    with inside(path):
        netlink = netlink_socket()
    with contextlib.closing(netlink):
        rows = set()
        for _, link, state, address, mac in dump(netlink, AF_BRIDGE):
            if mac is None or mac[0] & 1 or mac == bytes(6):
                continue
            if address is not None:
                rows.add(("tunnel", mac_text(mac), socket.inet_ntoa(address)))
            elif not state & NUD_PERMANENT and ports:
                rows.add(("bridge", mac_text(mac), ports.get(link, f"link {link}")))
        for _, link, state, address, mac in dump(netlink, socket.AF_INET):
            if mac and state & NUD_PERMANENT and not mac[0] & 1 and address[0] != 127:
                rows.add(("neighbour", mac_text(mac), socket.inet_ntoa(address)))
    return rows


def links(host, path):
    """Names of a namespace's links by their numbers."""
    said = subprocess.run(["nsenter", f"--net={path}", "ip", "-j", "link"], capture_output=True, text=True, check=True).stdout
    return {link["ifindex"]: link["ifname"] for link in json.loads(said)}


def ours(hosts, live):
    missing = wrong = 0
    for host in hosts:
        control = Control(f"{host.run}/swift-overlay/control.sock", 30)
        said = control.get(f"/networks?name={NETWORK}")
        path = f"{host.run}/netns/swov-{said['vni']}"
        gateway = {("neighbour", "02:53:4f:10:00:00", subnet["gateway"]) for subnet in said["subnets"]}
        wanted = set()
        for one in live:
            wanted.add(("neighbour", one.mac, one.ip))
            if one.host is host:
                wanted.add(("bridge", one.mac, f"ve{one.endpoint[:12]}"))
            else:
                wanted |= {("bridge", one.mac, "vxlan0"), ("tunnel", one.mac, one.host.address)}
        lacks, has = compare("rows", host, wanted, kernel(path, links(host, path)) - gateway)
        names = {(one["node"], one["mac"], ip, name) for one in said["endpoints"] for ip in one["addresses"] for name in one["names"]
                 if name.startswith("k")}
        more = compare("names", host, {(one.host.name, one.mac, one.ip, one.name) for one in live}, names)
        missing, wrong = missing + lacks + more[0], wrong + has + more[1]
        for problem in control.get("/status")["problems"]:
            print(f"  {host.name}: {problem}")
    return missing, wrong


def builtin(hosts, engines, live):
    missing = wrong = 0
    # Each host that takes part has an endpoint for load balancing.
    balancers = []
    for host, engine in zip(hosts, engines):
        for key, one in engine.call("GET", f"/networks/{NETWORK}")["Containers"].items():
            if key.startswith("lb-"):
                balancers.append(One(host, one["Name"], one["IPv4Address"].split("/")[0], one["MacAddress"], one["EndpointID"], 0))
    for host, engine in zip(hosts, engines):
        network = engine.call("GET", f"/networks/{NETWORK}")["Id"]
        path = next(pathlib.Path(f"{host.run}/docker/netns").glob(f"*-{network[:10]}"), None)
        wanted = set()
        for one in live + balancers:
            if one.host is not host:
                wanted |= {("tunnel", one.mac, one.host.address), ("neighbour", one.mac, one.ip)}
        lacks, has = compare("rows", host, wanted, set() if path is None else kernel(str(path), None))
        missing, wrong = missing + lacks, wrong + has
    return missing, wrong


def addresses_left(hosts, engines):
    """Waits until every node has as many endpoints and leases as its engine has containers there. Returns what is left over."""
    deadline = time.monotonic() + LEFT
    while True:
        live = collections.Counter(one.host.number for one in truth(hosts, engines))
        left = {}
        for host in hosts:
            control = Control(f"{host.run}/swift-overlay/control.sock", 30)
            said = control.get("/status")
            control.close()
            if {said["endpoints"], said["leases"]} != {live[host.number]}:
                left[host.name] = f"{said['endpoints']} endpoints, {said['leases']} addresses handed out, {live[host.number]} containers"
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(1)


# --------------------------------------------------------------------------------------------------------------------------- pings

NEIGHBOUR = struct.Struct("=BBHiHBB")


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


class Pinger:
    """Socket in a container. All namespaces share the kernel's neighbour table, so entries are dropped when they were used."""

    def __init__(self, one):
        self.one = one
        with inside(f"/proc/{one.host.init}/root/proc/{one.pid}/ns/net"):
            self.icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            self.netlink = netlink_socket()
            self.icmp.bind((one.ip, 0))
        self.icmp.setsockopt(socket.SOL_SOCKET, 33, 1 << 20)  # SO_RCVBUFFORCE
        self.icmp.setblocking(False)

    def ask(self, others, seconds=3.0):
        """Those of the others that did not answer one of three pings."""
        left = {other.one.ip: other for other in others}
        deadline, following, sequence = time.monotonic() + seconds, 0, 0
        while left and time.monotonic() < deadline:
            if time.monotonic() >= following:
                following, sequence = time.monotonic() + seconds / 3, sequence + 1
                packet = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, sequence)
                packet = packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]
                for ip in left:
                    with contextlib.suppress(OSError):
                        self.icmp.sendto(packet, (ip, 0))
            if select.select([self.icmp], [], [], 0.01)[0]:
                with contextlib.suppress(OSError):
                    while True:
                        data, sender = self.icmp.recvfrom(2048)
                        if data[(data[0] & 15) * 4] == 0:
                            left.pop(sender[0], None)
        return list(left.values())

    def forget(self):
        """Drops what this container learned of others."""
        for _, link, state, address, mac in dump(self.netlink, socket.AF_INET):
            if not state & NUD_PERMANENT and mac:
                body = NEIGHBOUR.pack(socket.AF_INET, 0, 0, link, 0, 0, 0) + struct.pack("=HH4s", 8, 1, address)
                self.netlink.send(HEADER.pack(HEADER.size + len(body), 29, 1, 1, 0) + body)  # RTM_DELNEIGH

    def close(self):
        self.icmp.close()
        self.netlink.close()


def pairs(live):
    """Pairs that do not ping."""
    pingers = [Pinger(one) for one in live]
    bad = []
    for number, pinger in enumerate(pingers):
        others = [other for other in pingers if other is not pinger]
        bad += [(pinger.one.name, other.one.name) for other in pinger.ask(others)]
        pinger.forget()
        if number % 2:
            for other in others:
                other.forget()
    for pinger in pingers:
        pinger.close()
    return bad


def main():
    side, minutes, count, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    words = sys.argv[5:]
    hosts = [Host(index // 3 + 1, *words[index:index + 3], count) for index in range(0, len(words), 3)]
    engines = [Engine(host.path) for host in hosts]
    is_ours = side == "swift-overlay"
    began = time.monotonic()

    def fill(host):
        engine = Engine(host.path)
        for name in host.containers:
            host.create(engine, name, "bridge")

    threads = [threading.Thread(target=fill, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{len(hosts)} hosts with {count} containers each after {time.monotonic() - began:.0f} s; seed {seed}; {machine()}", flush=True)

    for host in hosts:
        lab("loss", host.number, LOSS)
    churns = [Churn(host, seed + host.number) for host in hosts]
    faults = Faults(hosts, seed, is_ours, Churn.stopping)
    for thread in [*churns, faults]:
        thread.start()
    time.sleep(60 * minutes)
    Churn.stopping.set()
    for thread in [*churns, faults]:
        thread.join()
    lab("heal")
    for host in hosts:
        for one in ("daemon", "engine") if is_ours else ("engine",):
            lab(one, host.number, "start")
    print(f"{minutes:g} minutes: {', '.join(f'{number} {what}' for what, number in sorted(Churn.done.items()))}; "
          f"{Churn.reused} of them with an address that had just been given up")
    print(f"faults: {LOSS} % loss, {', '.join(f'{number} {what}' for what, number in sorted(faults.count.items()))}")
    for text, number in Churn.refused.most_common(8):
        print(f"  {number} times: {text}")
    # All are connected, as the look is at all of them.
    for churn in churns:
        with contextlib.suppress(Exception):
            churn.engine = Engine(churn.host.path)
            churn.learn()
    stuck = settle(hosts, engines)
    for churn in churns:
        with contextlib.suppress(Exception):
            churn.learn()
            for name in churn.host.containers:
                if name not in churn.connected:
                    try:
                        churn.engine.connect(NETWORK, name)
                    except EngineError as error:
                        print(f"  {name}: {error}")
    print(f"all up {'and settled' if not stuck else 'but for ' + str(stuck)}; quiet from now on", flush=True)
    time.sleep(QUIET)

    untrue = []
    live = truth(hosts, engines, untrue)
    for one in untrue:
        print(f"  {one.name} has not got {one.ip}, of which its engine, killed in between, says that it has")
    twice = [ip for ip, number in collections.Counter(one.ip for one in live).items() if number > 1]
    missing, wrong = ours(hosts, live) if is_ours else builtin(hosts, engines, live)
    looked = time.monotonic()
    bad = pairs(live)
    print(f"{len(live)} endpoints; {len(live) * (len(live) - 1)} pairs asked in {time.monotonic() - looked:.0f} s. {machine()}\n")
    for one, other in bad[:10]:
        print(f"  {one} does not reach {other}")
    passed = verdict(not missing and not wrong, f"{QUIET} s after it was quiet: {missing} rows and names missing, {wrong} wrong, on all hosts")
    passed &= verdict(not bad, f"{len(bad)} pairs do not ping")
    passed &= verdict(not twice, f"{len(twice)} addresses are on two containers")
    passed &= verdict(not stuck and len(live) + len(untrue) == len(hosts) * count,
                      f"{len(live)} of {len(hosts) * count} containers run and are on the network, {len(stuck)} need a hand")
    if is_ours:
        left = addresses_left(hosts, engines)
        passed &= verdict(not left, f"addresses and endpoints left over: {left or 'none'}")
    sys.exit(0 if passed else 1)


main()
