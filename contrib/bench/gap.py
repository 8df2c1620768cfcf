"""Measures how long after its network namespace appears a container's questions are answered:
gap.py NETNS-FOLDER ENGINE-SOCKET NETWORK NAME COUNT

Engines before 28 make the namespace after their last call to a plugin; the container's process starts later still."""

import ctypes
import os
import pathlib
import socket
import statistics
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
from engine_api import Engine  # noqa: E402

folder, path, network, asked, count = *sys.argv[1:5], int(sys.argv[5])
libc = ctypes.CDLL(None, use_errno=True)


def answered(sandbox, name, result):
    """Asks until the answer is authoritative. Docker's never is, ours always."""
    with open(sandbox) as namespace:
        while libc.setns(namespace.fileno(), 0x40000000) != 0:
            time.sleep(0.0002)
    message = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + bytes([len(name)]) + name.encode() + b"\0" + struct.pack(">HH", 1, 1)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(0.002)
        try:
            client.connect(("127.0.0.11", 53))
            client.send(message)
            if client.recv(512)[2] & 4:
                result["at"] = time.monotonic()
                return
        except OSError:
            time.sleep(0.0002)
        finally:
            client.close()


def main():
    engine, gaps, starts = Engine(path), [], []
    for number in range(count):
        name, known, result = f"gap{number}", set(os.listdir(folder)), {}
        body = {"Image": "busybox:local", "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": network}, "StopTimeout": 0}
        engine.call("POST", f"/containers/create?name={name}", body)

        def watch():
            while True:
                new = [entry for entry in os.listdir(folder) if entry not in known]
                # The file is empty at first. Once a namespace is bound on it, its device number differs.
                if new and os.stat(f"{folder}/{new[0]}").st_dev != os.stat(folder).st_dev:
                    break
                time.sleep(0.0002)
            result["there"] = time.monotonic()
            answered(f"{folder}/{new[0]}", asked, result)

        watcher = threading.Thread(target=watch)
        watcher.start()
        engine.call("POST", f"/containers/{name}/start")
        started = time.monotonic()
        watcher.join()
        gaps.append((result["at"] - result["there"]) * 1000)
        starts.append((result["at"] - started) * 1000)
        engine.remove(name)
    print(f"answered after the namespace was there: p50 {statistics.median(gaps):.1f} ms, longest {max(gaps):.1f} ms")
    print(f"and before `docker start` returned: {-statistics.median(starts):.0f} ms, at the least {-max(starts):.0f} ms")


main()
