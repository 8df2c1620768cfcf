"""The deployments of 87-prunes.sh: deploy.py NETWORK SECONDS SOCKET…

On each engine, all at once: containers that are created, started later, stopped and started again, taken away, and those that end at
once and are in the back-off of their restart policy. A start that is refused as its network is not there is tried again, and is
late. So is one that meets the end of docker_gwbridge, which the engine prunes, too, and makes anew for the container: that is
between the engine and itself. Prints each error, and a last line of how many there were of each."""

import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from engine_api import Engine, EngineError  # noqa: E402

IMAGE = "busybox:local"
LABELS = {"keep": ""}
PATIENCE = 5  # seconds until a start that was refused is an error
GATEWAY = ("docker_gwbridge", "GW Network")  # in the engine's errors about its own bridge


class Deployment(threading.Thread):
    """One loop on one engine until its time is over."""

    def __init__(self, number, socket, network, end):
        super().__init__()
        self.number, self.network, self.end = number, network, end
        self.engine = Engine(socket)
        self.starts, self.errors, self.late, self.gateway = 0, [], [], []

    def over(self):
        return time.monotonic() > self.end

    def create(self, name, command, policy=""):
        body = {"Image": IMAGE, "Cmd": command, "Labels": LABELS, "StopTimeout": 0}
        body["HostConfig"] = {"NetworkMode": self.network, "RestartPolicy": {"Name": policy}}
        self.engine.call("POST", f"/containers/create?name={name}", body)

    def start_container(self, name, when):
        self.starts += 1
        began = time.monotonic()
        while True:
            try:
                self.engine.call("POST", f"/containers/{name}/start")
                break
            except EngineError as error:
                is_late = "not found" in str(error) or any(word in str(error) for word in GATEWAY)
                if not is_late or time.monotonic() > began + PATIENCE:
                    self.errors.append(f"host {self.number}: {name}, {when}: {error}")
                    return
            time.sleep(0.1)
            self.late.append(time.monotonic() - began)

    def run(self):
        count = 0
        while not self.over():
            try:
                self.cycle(count)
            except EngineError as error:
                self.errors.append(f"host {self.number}: {error}")
            count += 1


class Stopped(Deployment):
    """Containers that are not running for most of the time."""

    def cycle(self, count):
        name = f"{self.network}-stopped-{count}"
        self.create(name, ["sleep", "1000000"])
        time.sleep(1.5)
        self.start_container(name, "1.5 s after it was created")
        for pause in (0, 0.3, 1, 2):
            self.engine.call("POST", f"/containers/{name}/stop?t=0")
            time.sleep(pause)
            self.start_container(name, f"{pause} s after it was stopped")
        self.engine.remove(name)


class Restarting(Deployment):
    """Containers that end at once, and wait longer each time: 100, 200, 400, 800, 1600 ms and more."""

    def cycle(self, count):
        name = f"{self.network}-restarting-{count}"
        self.create(name, ["true"], "always")
        self.start_container(name, "just created")
        time.sleep(7)
        made = self.engine.call("GET", f"/containers/{name}/json")
        self.starts += made["RestartCount"]
        state = made["State"]
        if state["Status"] not in ("restarting", "running") or state["Error"]:
            line = f"host {self.number}: {name} is {state['Status']} after {made['RestartCount']} restarts: {state['Error']}"
            (self.gateway if any(word in state["Error"] for word in GATEWAY) else self.errors).append(line)
        self.engine.remove(name)


def main():
    network, end = sys.argv[1], time.monotonic() + float(sys.argv[2])
    deployments = [kind(number + 1, socket, network, end)
                   for number, socket in enumerate(sys.argv[3:]) for kind in (Stopped, Restarting)]
    for one in deployments:
        one.start()
    for one in deployments:
        one.join()
    errors = [error for one in deployments for error in one.errors]
    for error in errors:
        print(error)
    gateway = [line for one in deployments for line in one.gateway]
    for line in gateway:
        print(line)
    late = [seconds for one in deployments for seconds in one.late]
    print(f"{sum(one.starts for one in deployments)} starts, {len(errors)} errors, {len(late)} times 'not found' and tried again" +
          (f", {max(late):.1f} s at the most" if late else "") +
          (f", {len(gateway)} ended with docker_gwbridge" if gateway else ""))
    sys.exit(1 if errors else 0)


main()
