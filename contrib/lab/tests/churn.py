"""The load of 40-churn.sh: churn.py CYCLES SOCKET1 SOCKET2 STATUS1 STATUS2"""

import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from engine_api import Engine  # noqa: E402

NETWORK = "churn"
CONTAINERS = 2  # per host, so that one endpoint comes while another is there


def resident(status):
    for line in pathlib.Path(status).read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError(f"no VmRSS in {status}")


class Host(threading.Thread):
    live = {}  # address → its owner, over both hosts
    lock = threading.Lock()
    failed = threading.Event()

    def __init__(self, number, cycles, path, status):
        super().__init__()
        self.number, self.cycles, self.status = number, cycles, status
        self.engine = Engine(path)
        self.errors = []
        self.warm = None

    def claim(self, address, who):
        with Host.lock:
            other = Host.live.setdefault(address, who)
        if other != who:
            raise RuntimeError(f"{address} is {other}'s and {who}'s at once")

    def release(self, address):
        with Host.lock:
            del Host.live[address]

    def cycle(self, i):
        container = f"c{self.number}-{i % CONTAINERS}"
        self.engine.connect(NETWORK, container)
        address = self.engine.address(NETWORK, container)
        self.claim(address, f"{container} in cycle {i}")
        if i % 10 == 0:
            name = f"churn-{self.number}-{i}"
            self.engine.create_network(name, "swift-overlay", "swift-overlay", {"net": name})
            self.engine.connect(name, container)
            self.engine.disconnect(name, container)
            self.engine.remove_network(name)
        if i % 10 == 5:
            name = f"t{self.number}-{i}"
            made = self.engine.run(name, "busybox:local", ["sleep", "1000"], NETWORK)
            own = made["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]
            self.claim(own, name)
            self.release(own)
            self.engine.remove(name)
        self.release(address)
        self.engine.disconnect(NETWORK, container)

    def run(self):
        try:
            for i in range(CONTAINERS):
                self.engine.run(f"c{self.number}-{i}", "busybox:local", ["sleep", "1000000"], "bridge")
            for i in range(self.cycles):
                if Host.failed.is_set():
                    return
                if i == self.cycles // 5:
                    self.warm = resident(self.status)
                self.cycle(i)
        except Exception as error:  # whatever it is, the other host must end too
            self.errors.append(f"host {self.number}: {type(error).__name__}: {error}")
            Host.failed.set()
        finally:
            try:
                for i in range(CONTAINERS):
                    self.engine.remove(f"c{self.number}-{i}")
            except Exception as error:
                self.errors.append(f"host {self.number}: {error}")


def main():
    cycles = int(sys.argv[1])
    hosts = [Host(n + 1, cycles, sys.argv[2 + n], sys.argv[4 + n]) for n in range(2)]
    started = time.monotonic()
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()
    errors = [error for host in hosts for error in host.errors]
    seconds = time.monotonic() - started
    print(f"{cycles} cycles on each host in {seconds:.1f} s, {2 * cycles / seconds:.1f}/s")
    if not errors:
        for host in hosts:
            end = resident(host.status)
            allowed = host.warm + max(4096, host.warm // 10)
            print(f"host {host.number}: VmRSS {host.warm} kB warm, {end} kB at the end, {allowed} kB allowed")
            if end > allowed:
                errors.append(f"host {host.number}: the daemon has grown")
    for error in errors:
        print(error)
    sys.exit(1 if errors else 0)


main()
