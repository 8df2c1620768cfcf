"""Measures memory, CPU and packets of idle daemons."""

import contextlib
import json
import pathlib
import statistics
import time

from hosts import PORT, WELL, machine, run, seconds, verdict

# Targets per daemon: resident bytes, share of one core, bytes sent per second (IP packets on 7947 with their headers).
IDLE = {"resident": 30e6, "core": 0.005, "sent": 600}


class Usage:
    """Usage of one daemon so far."""

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
