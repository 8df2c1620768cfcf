"""Checks of 86-project.sh: project.py ours|plain PROJECT HOST=SOCKET=ROOT…

Compares what containers of a Compose project find by name with what the engines say of them. HOST is a number, SOCKET its engine's,
and ROOT the root of the file system of the host, from the machine. Names are the container's and its aliases as the engine has
them: Compose makes one of each service, and the engine one of the host name. Prints a line for each difference, beginning with its
kind, and a last one of what was compared."""

import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from engine_api import Engine  # noqa: E402

SECONDS = 5  # until all hosts know all names


def containers(project, host, socket, root):
    engine = Engine(socket)
    for listed in engine.call("GET", "/containers/json?all=1"):
        one = engine.call("GET", f"/containers/{listed['Id']}/json")
        labels = one["Config"]["Labels"]
        if labels.get("com.docker.compose.project") != project:
            continue
        yield {
            "host": host,
            "name": one["Name"].lstrip("/"),
            "service": labels["com.docker.compose.service"],
            "once": labels["com.docker.compose.oneoff"] == "True",
            "running": one["State"]["Running"],
            "error": one["State"]["Error"],
            "process": pathlib.Path(root) / "proc" / str(one["State"]["Pid"]),
            "networks": one["NetworkSettings"]["Networks"],
            "ports": len(one["Config"].get("ExposedPorts") or {}),
        }


def names_of(container, network):
    endpoint = container["networks"][network]
    # Engines since 25 list all names apart from the aliases that were given.
    names = {container["name"], *(endpoint.get("DNSNames") or endpoint["Aliases"] or [])}
    return names | {f"{name}.{network}" for name in names}


def internal(network):
    return network.endswith("_back")


def expected(found, vantage):
    """Names that the container can find, with their addresses: those of the first of its networks that has the name, in the engine's
    order, in which internal ones come last."""
    answers = {}
    for network in sorted(vantage["networks"], key=lambda network: (internal(network), network)):
        here = {}
        for other in found:
            if network not in other["networks"] or not other["running"]:
                continue
            for name in names_of(other, network):
                here.setdefault(name, set()).add(other["networks"][network]["IPAddress"])
        for name, addresses in here.items():
            answers.setdefault(name, addresses)
    return answers


def ask(container, names):
    """Answers to all of them, by one process."""
    command = ["nsenter", f"--net={container['process'] / 'ns/net'}", "dig", "@127.0.0.11", "+noall", "+answer", "+time=2", "+tries=1"]
    command += ["-f", "/dev/stdin"]
    answers = {name: set() for name in names}
    output = subprocess.run(command, input="\n".join(names), capture_output=True, text=True, check=False).stdout
    for line in output.splitlines():
        words = line.split()
        if len(words) == 5 and words[3] == "A":
            answers.setdefault(words[0].rstrip("."), set()).add(words[4])
    return answers


def wrong_names(found):
    """Differences, and the number of names that were compared."""
    differences, count = [], 0
    for vantage in found:
        if not vantage["running"]:
            continue
        wanted = expected(found, vantage)
        given = ask(vantage, sorted(wanted))
        count += len(wanted)
        for name in sorted(wanted):
            if given[name] != wanted[name]:
                said, should = sorted(given[name]), sorted(wanted[name])
                differences.append(f"names: {vantage['name']} on host {vantage['host']}: {name} is {said}, not {should}")
    return differences, count


def first_instruction(found):
    """What each found of itself in its first instruction."""
    for one in found:
        path = one["process"] / "root/tmp/first"
        if not one["running"] or one["once"] or not path.exists():
            continue
        own = {endpoint["IPAddress"] for endpoint in one["networks"].values()}
        text = path.read_text()
        if not any(f"Address: {address}\n" in text for address in own):
            yield f"first: {one['name']} on host {one['host']}: {' '.join(text.split()[-6:])}"


def other_differences(found, ours):
    for one in found:
        if not one["running"]:
            yield f"start: {one['name']} on host {one['host']} does not run: {one['error']}"
            continue
        route = subprocess.run(
            ["nsenter", f"--net={one['process'] / 'ns/net'}", "ip", "route", "show", "default"],
            capture_output=True, text=True, check=False).stdout
        if ours and all(internal(name) for name in one["networks"]) and route:
            yield f"start: {one['name']} on host {one['host']} is on an internal network alone, and has a route out: {route.strip()}"
        for service, network, address in (("db", "back", "10.93.0.10"), ("web", "front", "10.94.0.10")):
            own = [e["IPAddress"] for name, e in one["networks"].items() if name.endswith(f"_{network}")]
            if one["service"] == service and own != [address]:
                yield f"start: {one['name']} has {own}, not {address}"
        if one["service"] == "voice" and one["ports"] != 10000:
            yield f"start: {one['name']} has {one['ports']}"


def main():
    ours, project, hosts = sys.argv[1] == "ours", sys.argv[2], [argument.split("=") for argument in sys.argv[3:]]
    found = [one for host in hosts for one in containers(project, *host)]
    lines = [*other_differences(found, ours), *first_instruction(found)]
    deadline = time.monotonic() + SECONDS
    names, count = wrong_names(found)
    while names and time.monotonic() < deadline:
        time.sleep(0.3)
        names, count = wrong_names(found)
    for line in lines + names:
        print(line)
    print(f"{len(found)} containers, {count} names")
    sys.exit(1 if lines or names else 0)


main()
