"""The measuring half of `names`; standard library only.

names.py single ROUNDS SOCKET1 SOCKET2 SANDBOX1 SANDBOX2
names.py burst COUNT SOCKET1 SOCKET2 SANDBOX1 SANDBOX2"""

import concurrent.futures
import ctypes
import json
import pathlib
import socket
import statistics
import struct
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
from engine_api import Engine  # noqa: E402

NETWORK = "bench-net"
LIMITS = {"gone": 0.1, "burst": 2.0}


class Asker:
    """Socket in a container's namespace."""

    def __init__(self, sandbox):
        box = {}

        def make():
            # Only this thread changes its namespace, and it ends here.
            with open(sandbox) as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0x40000000) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            box["client"] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            box["client"].settimeout(2)
            box["client"].connect(("127.0.0.11", 53))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        self.client = box["client"]
        self.number = 0

    def ask(self, name):
        """Addresses of a name on this network."""
        self.number = (self.number + 1) & 0xFFFF
        labels = b"".join(bytes([len(label)]) + label.encode() for label in f"{name}.{NETWORK}".split("."))
        message = struct.pack(">HHHHHH", self.number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)
        self.client.send(message)
        while True:
            try:
                answer = self.client.recv(4096)
            except TimeoutError:
                return None
            if answer[:2] == message[:2]:
                break
        count = struct.unpack(">H", answer[6:8])[0]
        records = answer[len(message):]
        return {socket.inet_ntoa(records[16 * index + 12:16 * index + 16]) for index in range(count)}


def until(condition, limit=30):
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            return None
        time.sleep(0.0005)
    return time.monotonic()


def run(engine, name):
    body = {"Image": "busybox:local", "Cmd": ["sleep", "1000000"], "HostConfig": {"NetworkMode": NETWORK}, "StopTimeout": 0}
    engine.call("POST", f"/containers/create?name={name}", body)
    engine.call("POST", f"/containers/{name}/start")


def verdict(text, holds):
    print(("PASS  " if holds else "FAIL  ") + text)
    return holds


def disconnected(engine, since, until_):
    """Time of the engine's event that a container left its network, between two times, in seconds since 1970."""
    filters = urllib.parse.quote(json.dumps({"type": ["network"], "event": ["disconnect"]}))
    event = engine.call("GET", f"/events?since={since:.9f}&until={until_:.9f}&filters={filters}")
    return event["timeNano"] / 1e9 if event else None


def single(rounds, engines, askers):
    there, gone, since_call, since_event = [], [], [], []
    for number in range(rounds):
        name = f"one{number}"
        run(engines[0], name)
        started = time.monotonic()
        found = until(lambda: askers[1].ask(name))
        if found is None:
            return verdict(f"{name} is not found on the other host within 30 s", False)
        there.append(max(0, found - started))
        began, wall = time.monotonic(), time.time()
        result = {}

        def watch():
            result["at"] = until(lambda: askers[1].ask(name) == set())

        watcher = threading.Thread(target=watch)
        watcher.start()
        engines[0].call("POST", f"/containers/{name}/stop?t=0")
        # A container counts as stopped when the engine has disconnected it from its networks.
        ended = time.monotonic()
        watcher.join()
        if result["at"] is None:
            return verdict(f"{name} is still found on the other host, 30 s after it was stopped", False)
        gone.append(max(0, result["at"] - ended))
        since_call.append(result["at"] - began)
        event = disconnected(engines[0], wall, time.time())
        if event is not None:
            since_event.append(wall + result["at"] - began - event)
        engines[0].remove(name)

    def figures(values):
        values = sorted(values)
        return f"p50 {statistics.median(values) * 1000:.0f} ms, longest {values[-1] * 1000:.0f} ms"

    print(f"found on the other host, after `docker run` has returned: {figures(there)}")
    print(f"gone there, after `docker stop` was called: {figures(since_call)}")
    holds = verdict(f"gone there, after `docker stop` has returned: {figures(gone)} (at most 100 ms)", max(gone) <= LIMITS["gone"])
    if not since_event:
        return verdict("the engine tells of no disconnect", False)
    return verdict(f"gone there, after the engine's `disconnect`: {figures(since_event)} (at most 100 ms)",
                   max(since_event) <= LIMITS["gone"]) and holds


def burst(count, paths, engines, askers):
    names = [(number % 2, f"burst{number}") for number in range(count)]
    right, last = {}, [0.0]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        local, lock = threading.local(), threading.Lock()

        def start(item):
            side, name = item
            if not hasattr(local, "engines"):
                local.engines = [Engine(path) for path in paths]
            run(local.engines[side], name)
            returned = time.monotonic()
            # Asked here rather than at the end, where asking the engines for all of them would take part of the allowed time.
            address = local.engines[side].address(NETWORK, name)
            with lock:
                right[name] = {address}
                last[0] = max(last[0], returned)

        began = time.monotonic()
        list(pool.map(start, names))
    looked = time.monotonic()
    missing = [(asker, name) for asker in askers for _, name in names]
    first = None
    while missing and time.monotonic() - last[0] < 30:
        missing = [(asker, name) for asker, name in missing if asker.ask(name) != right[name]]
        first = len(missing) if first is None else first
    took = time.monotonic() - last[0]
    print(f"{count} containers on two hosts in {last[0] - began:.0f} s; "
          f"looked at first {1000 * (looked - last[0]):.0f} ms after the last start: {first} of {2 * count} were not right yet")
    if len(set().union(*right.values())) != count:
        return verdict("one address was handed out twice", False)
    if missing:
        return verdict(f"{len(missing)} names are wrong after {took:.0f} s, the first is {missing[0][1]}", False)
    right_holds = verdict(f"all names right on both hosts {took:.2f} s after the last start (at most {LIMITS['burst']:.0f} s)",
                          took <= LIMITS["burst"])
    for side, name in names:
        engines[side].remove(name)
    ended = time.monotonic()
    left = until(lambda: all(asker.ask(name) == set() for asker in askers for _, name in names[-20:]))
    when = "" if left is None else f", {1000 * (left - ended):.0f} ms after the last was removed"
    return verdict(f"none of the last 20 is found any more{when}", left is not None) and right_holds


def main():
    mode, number, paths, sandboxes = sys.argv[1], int(sys.argv[2]), sys.argv[3:5], sys.argv[5:7]
    engines, askers = [Engine(path) for path in paths], [Asker(sandbox) for sandbox in sandboxes]
    holds = single(number, engines, askers) if mode == "single" else burst(number, paths, engines, askers)
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
