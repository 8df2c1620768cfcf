"""The measuring half of `attach`; standard library only.

attach.py measure [--count N] [--seconds S] --side NAME SOCKET1 SOCKET2 INIT1 INIT2 [--side …]
attach.py probe      in a container's network namespace: reads addresses, prints when each first answered
"""

import argparse
import json
import os
import pathlib
import select
import socket
import statistics
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
from engine_api import Engine  # noqa: E402

NETWORK = "bench"
IMAGE = "busybox:local"
PROBE_LIMIT = 15.0  # seconds after which an endpoint counts as unreachable
TARGETS = {"connect": 0.25, "reach": 0.020, "stream": 0.97}


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total += total >> 16
    return ~total & 0xFFFF


def probe():
    """One ICMP echo a millisecond, the first at once, so that the first ARP request is part of what is measured."""
    ident = os.getpid() & 0xFFFF
    for line in sys.stdin:
        address = line.strip()
        # One socket per address, so that a late answer from the previous one is not counted here.
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
            deadline = time.monotonic() + PROBE_LIMIT
            sequence, answered = 0, None
            while answered is None and time.monotonic() < deadline:
                sequence = (sequence + 1) & 0xFFFF
                header = struct.pack("!BBHHH", 8, 0, 0, ident, sequence)
                packet = struct.pack("!BBHHH", 8, 0, checksum(header), ident, sequence)
                try:
                    icmp.sendto(packet, (address, 0))
                except OSError:
                    pass  # "no route to host" while ARP fails: part of the wait
                until = time.monotonic() + 0.001
                while (left := until - time.monotonic()) > 0:
                    if not select.select([icmp], [], [], left)[0]:
                        break
                    try:
                        data, sender = icmp.recvfrom(2048)
                    except OSError:
                        continue
                    now = time.monotonic()
                    body = data[(data[0] & 15) * 4:]
                    if sender[0] == address and body[0] == 0 and struct.unpack("!H", body[4:6])[0] == ident:
                        answered = now
                        break
        print(answered if answered is not None else "never", flush=True)


class Side:
    def __init__(self, name, socket1, socket2, init1, init2):
        self.name = name
        self.engines = [Engine(socket1), Engine(socket2)]
        self.inits = [init1, init2]
        self.connects, self.reaches, self.streams, self.wires = [], [], [], []
        self.unreached = 0

    def enter(self, host, pid=None):
        """Command prefix that runs a command on a host, or in the network namespace of one of its containers."""
        words = ["nsenter", "--target", self.inits[host], "--mount", "--net", "--uts", "--pid", "--"]
        return words if pid is None else [*words, "nsenter", "--target", str(pid), "--net", "--"]

    def prepare(self, count):
        near, far = self.engines
        self.near = near.run("near", IMAGE, ["sleep", "1000000"], NETWORK)
        self.far = far.run("far", IMAGE, ["sleep", "1000000"], NETWORK)
        # The containers are on a user-defined network already, so that the engine's DNS resolver runs in them. Its start takes 100 ms
        # and more, is the same for both drivers, and would hide the difference.
        near.create_network("plain", "bridge")
        for i in range(count + 1):
            near.run(f"target{i}", IMAGE, ["sleep", "1000000"], "plain")
        self.prober = subprocess.Popen(
            [*self.enter(1, self.far["State"]["Pid"]), sys.executable, os.path.abspath(__file__), "probe"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self.attach(0)  # warms both ends
        self.connects.clear()
        self.reaches.clear()
        self.unreached = 0

    def attach(self, i):
        engine = self.engines[0]
        began = time.monotonic()
        engine.connect(NETWORK, f"target{i}")
        returned = time.monotonic()
        address = engine.address(NETWORK, f"target{i}")
        self.prober.stdin.write(address + "\n")
        self.prober.stdin.flush()
        answer = self.prober.stdout.readline().strip()
        self.connects.append(returned - began)
        if answer in ("", "never"):
            self.unreached += 1
            self.reaches.append(PROBE_LIMIT)
        else:
            self.reaches.append(float(answer) - returned)

    def _iperf(self, server, client, address, seconds):
        serving = subprocess.Popen([*server, "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        try:
            for _ in range(50):
                time.sleep(0.1)
                done = subprocess.run(
                    [*client, "iperf3", "-c", address, "-t", str(seconds), "-J"], capture_output=True, text=True
                )
                result = json.loads(done.stdout or "{}")
                if "error" not in result and "end" in result:
                    serving.wait(10)
                    return result["end"]["sum_received"]["bits_per_second"]
                if "refused" not in result.get("error", "refused"):
                    raise RuntimeError(f"iperf3: {result['error']}")
            raise RuntimeError("iperf3: the server does not listen")
        finally:
            if serving.poll() is None:
                serving.kill()
                serving.wait()

    def stream(self, seconds):
        address = self.far["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]
        server, client = self.enter(1, self.far["State"]["Pid"]), self.enter(0, self.near["State"]["Pid"])
        self.streams.append(self._iperf(server, client, address, seconds))

    def wire(self, seconds):
        self.wires.append(self._iperf(self.enter(1), self.enter(0), "10.99.0.12", seconds))

    def end(self):
        self.prober.stdin.close()
        self.prober.wait(PROBE_LIMIT + 5)


def p95(values):
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


def milliseconds(values):
    return f"{1000 * statistics.median(values):9.1f} ms   p95 {1000 * p95(values):9.1f} ms"


def gigabits(values):
    return f"{statistics.median(values) / 1e9:9.2f} Gb/s"


def measure(arguments):
    sides = [Side(*words) for words in arguments.side]
    for side in sides:
        side.prepare(arguments.count)
    # In turn, so that other load on the machine affects both alike.
    for i in range(1, arguments.count + 1):
        for side in sides:
            side.attach(i)
    for _ in range(3):
        for side in sides:
            side.stream(arguments.seconds)
    sides[0].wire(arguments.seconds)
    for side in sides:
        side.end()

    print(f"\n{arguments.count} attachments and 3 streams of {arguments.seconds} s each; medians")
    for side in sides:
        print(side.name)
        print(f"  network connect            {milliseconds(side.connects)}")
        print(f"  reached after it returned  {milliseconds(side.reaches)}"
              + (f"   {side.unreached} not within {PROBE_LIMIT:.0f} s" if side.unreached else ""))
        print(f"  one TCP stream             {gigabits(side.streams)}")
    print(f"between the hosts themselves {gigabits(sides[0].wires)}")
    if len(sides) < 2:
        return True

    base, ours = sides
    ratio = statistics.median(ours.connects) / statistics.median(base.connects)
    reach = statistics.median(ours.reaches)
    speed = statistics.median(ours.streams) / statistics.median(base.streams)
    verdicts = [
        (ratio <= TARGETS["connect"], f"network connect takes {ratio:.2f} of the built-in's time; target {TARGETS['connect']}"),
        (reach <= TARGETS["reach"] and not ours.unreached,
         f"reached {1000 * reach:.1f} ms after connect returned; target {1000 * TARGETS['reach']:.0f} ms"),
        (speed >= TARGETS["stream"], f"one TCP stream has {speed:.2f} of the built-in's throughput; target {TARGETS['stream']}"),
    ]
    print()
    for passed, text in verdicts:
        print(f"{'PASS' if passed else 'FAIL'}  {text}")
    return all(passed for passed, _ in verdicts)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("probe")
    measuring = commands.add_parser("measure")
    measuring.add_argument("--count", type=int, default=20)
    measuring.add_argument("--seconds", type=int, default=5)
    measuring.add_argument("--side", nargs=5, action="append", required=True,
                           metavar=("NAME", "SOCKET1", "SOCKET2", "INIT1", "INIT2"))
    arguments = parser.parse_args()
    if arguments.command == "probe":
        probe()
    else:
        sys.exit(0 if measure(arguments) else 1)


main()
