"""Deletes and alters objects of a network in the kernel, one after another, and measures how long each is wrong.

Runs inside a host of the lab: drift.py NAMESPACE CONTAINER-PID PEER-ADDRESS COUNT SEED
What is right is what was there before, in text: links with their flags, rows, neighbours and addresses of the network's namespace,
and link, addresses and routes of the container.
"""

import json
import random
import subprocess
import sys
import time

NAMESPACE, PID, PEER, COUNT, SEED = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
PATH = "/run/netns/" + NAMESPACE
# Seconds after which something counts as never mended.
GIVE_UP = 15.0


def run(*command, check=True):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def network(*command, check=True):
    return run("nsenter", "--net=" + PATH, *command, check=check)


def container(*command, check=True):
    return run("nsenter", "--target", PID, "--net", "--", *command, check=check)


def text(value):
    return json.dumps(value, sort_keys=True)


def links():
    lines = []
    indexes = {}
    found = json.loads(network("ip", "-json", "-details", "link", "show") or "[]")
    for link in found:
        indexes[link["ifindex"]] = link["ifname"]
    for link in found:
        if link["ifname"] not in ("br0", "vxlan0") and not link["ifname"].startswith("ve"):
            continue
        info = link.get("linkinfo", {})
        data = info.get("info_data", {})
        port = info.get("info_slave_data", {})
        keep = ("id", "local", "port", "learning", "stp_state", "vlan_filtering")
        flags = (
            "state", "hairpin", "guard", "root_block", "learning", "flood", "proxy_arp", "proxy_arp_wifi", "mcast_flood",
            "mcast_to_unicast", "bcast_flood", "neigh_suppress", "vlan_tunnel", "isolated", "locked",
        )
        lines.append(text({
            "name": link["ifname"], "up": "UP" in link["flags"], "mtu": link["mtu"], "master": link.get("master"),
            "mac": link["address"] if link["ifname"] == "br0" else None,
            "data": {key: data.get(key) for key in keep}, "port": {key: port.get(key) for key in flags},
        }))
    return sorted(lines)


def rows():
    lines = []
    for row in json.loads(network("bridge", "-json", "fdb", "show") or "[]"):
        flags = row.get("flags", [])
        # Rows of the devices' own MACs are the kernel's.
        if "self" in flags and "dst" not in row or row.get("state") == "permanent" and "self" not in flags:
            continue
        lines.append(text({key: row.get(key) for key in ("mac", "ifname", "dst", "port", "vni", "state", "master")}))
    for row in json.loads(network("ip", "-json", "neigh", "show", "nud", "permanent") or "[]"):
        lines.append(text({key: row.get(key) for key in ("dst", "dev", "lladdr")}))
    return sorted(lines)


def addresses(where):
    lines = []
    for link in json.loads(where("ip", "-json", "address", "show") or "[]"):
        for address in link.get("addr_info", []):
            if address["scope"] == "global":
                lines.append(f"{link['ifname']} {address['local']}/{address['prefixlen']} {address.get('broadcast')}")
    return sorted(lines)


def inside():
    lines = addresses(container)
    for link in json.loads(container("ip", "-json", "link", "show")):
        lines.append(f"{link['ifname']} {link['address']} {link['mtu']} {'UP' in link['flags']}")
    for route in json.loads(container("ip", "-json", "route", "show")):
        lines.append(text({key: route.get(key) for key in ("dst", "dev", "gateway", "scope")}))
    return sorted(lines)


def state():
    try:
        return links() + rows() + addresses(network) + inside()
    except (RuntimeError, json.JSONDecodeError) as error:
        return [str(error)]


def difference(wanted, seen):
    return [f"- {line}" for line in wanted if line not in seen][:3] + [f"+ {line}" for line in seen if line not in wanted][:3]


def pick(kind):
    names = [line.split('"name": "')[1].split('"')[0] for line in links()]
    ports = sorted(name for name in names if name.startswith("ve"))
    return random.choice(ports) if kind == "port" else kind


def remote_row():
    remote = [row for row in json.loads(network("bridge", "-json", "fdb", "show", "dev", "vxlan0"))
              if "dst" in row and row["mac"] != "00:00:00:00:00:00"]
    # Where none is left, something was not mended before.
    return random.choice(remote or [{"mac": "02:66:00:00:00:05", "dst": "10.99.0.12"}])


def neighbour():
    return random.choice(json.loads(network("ip", "-json", "neigh", "show", "nud", "permanent")))


FLAGS = {
    "learning": "on", "hairpin": "on", "isolated": "on", "flood": "off", "mcast_flood": "off", "guard": "on",
    "bcast_flood": "off",
}


def changes():
    """Changes by name. Each is a list of commands in the network's namespace, but for those that say where."""
    port = pick("port")
    device = random.choice(["vxlan0", port])
    flag = random.choice(sorted(FLAGS))
    row, near = remote_row(), neighbour()
    gateway = addresses(network)[0].split()
    return {
        "vxlan0 down": ["ip link set vxlan0 down"],
        "vxlan0 deleted": ["ip link del vxlan0"],
        "vxlan0 without master": ["ip link set vxlan0 nomaster"],
        "vxlan0 learns": ["ip link set vxlan0 type vxlan learning"],
        "vxlan0 MTU": ["ip link set vxlan0 mtu 1280"],
        "vxlan0 without suppression": ["bridge link set dev vxlan0 neigh_suppress off"],
        "br0 down": ["ip link set br0 down"],
        "br0 deleted": ["ip link del br0"],
        "br0 MAC": ["ip link set br0 address 02:00:00:00:00:99"],
        "br0 MTU": ["ip link set br0 mtu 1280"],
        "br0 with STP": ["ip link set br0 type bridge stp_state 1"],
        "port down": [f"ip link set {port} down"],
        "port without master": [f"ip link set {port} nomaster"],
        "port MTU": [f"ip link set {port} mtu 1280"],
        "port stopped": [f"bridge link set dev {port} state 0"],
        "port renamed": [f"ip link set {port} down", f"ip link set {port} name other0", "ip link set other0 up"],
        "port deleted": [f"ip link del {port}"],
        f"{flag} of {'vxlan0' if device == 'vxlan0' else 'a port'}": [f"bridge link set dev {device} {flag} {FLAGS[flag]}"],
        "container's veth deleted": ["container ip link del eth0"],
        "row deleted": [f"bridge fdb del {row['mac']} dev vxlan0 self"],
        "row of the bridge deleted": [f"bridge fdb del {row['mac']} dev vxlan0 master"],
        "row elsewhere": [f"bridge fdb replace {row['mac']} dev vxlan0 dst 10.99.0.77 self static"],
        "row with a port": [f"bridge fdb replace {row['mac']} dev vxlan0 dst {row['dst']} port 4791 self static"],
        "row of a stranger": ["bridge fdb add 02:66:00:00:00:01 dev vxlan0 dst 10.99.0.77 self static"],
        "flood row deleted": [f"bridge fdb del 00:00:00:00:00:00 dev vxlan0 dst {row['dst']} self"],
        "flood row of a stranger": ["bridge fdb append 00:00:00:00:00:00 dev vxlan0 dst 10.99.0.77 self permanent"],
        "neighbour deleted": [f"ip neigh del {near['dst']} dev br0"],
        "neighbour elsewhere": [f"ip neigh replace {near['dst']} lladdr 02:66:00:00:00:02 dev br0 nud permanent"],
        "neighbour not permanent": [f"ip neigh replace {near['dst']} lladdr {near['lladdr']} dev br0 nud reachable"],
        "gateway deleted": [f"ip address del {gateway[1]} dev br0"],
        "address of a stranger": ["ip address add 203.0.113.9/24 dev br0"],
        "namespace's file deleted": [f"host umount -l {PATH}", f"host rm {PATH}"],
        "namespace's file unmounted": [f"host umount -l {PATH}"],
    }


def change(commands):
    for command in commands:
        words = command.split()
        if words[0] == "container":
            container(*words[1:])
        elif words[0] == "host":
            run(*words[1:])
        else:
            network(*words)


def main():
    random.seed(SEED)
    deadline = time.monotonic() + 10
    wanted = state()
    while len(wanted) < 5 or wanted != state():
        if time.monotonic() > deadline:
            raise SystemExit("the network is not quiet")
        wanted = state()
    times, failed, order = [], [], []
    for number in range(COUNT):
        # Each kind comes once before one comes twice.
        known = changes()
        order = [name for name in order if name in known]
        if not order:
            order = random.sample(sorted(known), len(known))
        name = order.pop()
        commands = known[name]
        try:
            change(commands)
        except RuntimeError as error:
            print(f"{number + 1:3} {name:32} not done: {error}", flush=True)
            continue
        began = time.monotonic()
        seen = state()
        while seen != wanted and time.monotonic() - began < GIVE_UP:
            time.sleep(0.02)
            seen = state()
        taken = time.monotonic() - began
        answers = subprocess.run(
            ["nsenter", "--target", PID, "--net", "--", "ping", "-c", "1", "-W", "1", PEER], stdout=subprocess.DEVNULL
        ).returncode == 0
        right = seen == wanted and answers
        print(f"{number + 1:3} {name:32} {taken:6.2f} s{'' if right else '  NEVER MENDED'}", flush=True)
        if not right:
            failed.append(name)
            print("\n".join(difference(wanted, seen)) or "no answer to a ping", flush=True)
            # From here on it is measured against the present state.
            wanted = state()
        else:
            times.append(taken)
    times.sort()
    if times:
        print(f"{len(times)} changes: p50 {times[len(times) // 2]:.2f} s (limit 1 s), max {times[-1]:.2f} s (limit 5 s)")
    if failed:
        raise SystemExit(f"never mended within {GIVE_UP:.0f} s: {', '.join(failed)}")


main()
