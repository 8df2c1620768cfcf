"""Measures what nodes report, and what kernels hold, during faults."""

import collections
import dataclasses
import json
import math
import os
import random
import signal
import threading
import time

from hosts import Control, MeshError, PORT, PluginError, WELL, end, seconds, verdict

# States as `node ls` prints them. No healthy node may report one of these for a healthy node (invariant F).
NEVER_OF_HEALTHY = {"unreachable", "daemon-down"}
# Limits in seconds after the end of a fault: until kernels hold what is live (C), until all states are well, and until the others must
# treat a node that had the fault as healthy (P).
WITHIN = {"rows": 5.0, "well": 15.0, "healthy again": 5.0}


@dataclasses.dataclass
class Fault:
    """One fault. `who` is the first host, `other` a second one, and `others` all but the first."""

    title: str
    seconds: float
    # True if `who` is not healthy during the fault. States in `may` are then allowed for it; for others, NEVER_OF_HEALTHY holds.
    is_sick: bool = False
    may: frozenset = frozenset()
    # (observer, subject, one of these states, within so many seconds of the beginning): expected of each pair at least once.
    must: tuple = ()
    # Endpoints created or removed per second during the fault.
    churn: float = 4


FAULTS = {
    "stop": Fault(
        "SIGSTOP of one daemon", 20, is_sick=True, may=frozenset({"alive", "suspect", "unreachable"}),
        must=(("others", "who", {"unreachable"}, 10),)),
    "one-way": Fault("packets from one host to another one dropped, one way, UDP and TCP", 30),
    "loss": Fault(f"20 % of the packets to every host's {PORT} lost", 30, churn=10),
    "kill": Fault(
        "kill -9 of one daemon, restarted at the end", 10, is_sick=True, may=frozenset({"alive", "suspect", "daemon-down"}),
        must=(("others", "who", {"daemon-down"}, 3),)),
    "udp": Fault(
        f"UDP {PORT} blocked between one host and all others, TCP open", 20,
        must=(("others", "who", {"udp-blocked"}, 15), ("who", "others", {"udp-blocked"}, 15))),
}


class Sampler(threading.Thread):
    """Polls one node twice a second for the states it reports."""

    PERIOD = 0.5

    def __init__(self, host, samples, lock):
        super().__init__(daemon=True)
        self.host, self.samples, self.lock = host, samples, lock
        self.stopping = threading.Event()
        self.control = Control(host.control.path, 1.0)

    def run(self):
        following = time.monotonic()
        while not self.stopping.wait(max(0, following - time.monotonic())):
            following = max(following + self.PERIOD, asked := time.monotonic())
            try:
                said, at = self.host.states(self.control), time.monotonic()
            except (OSError, MeshError, ValueError):
                said, at = None, asked
            with self.lock:
                self.samples.append((at, self.host.name, said))
        self.control.close()


class Churn(threading.Thread):
    """Creates and removes endpoints, and knows which are live at the end."""

    def __init__(self, live, hosts, rate, seed):
        super().__init__(daemon=True)
        self.live, self.hosts, self.rate = live, hosts, rate
        self.random = random.Random(seed)
        self.stopping = threading.Event()
        self.made = self.removed = 0
        self.errors = collections.Counter()
        self.slowest = 0.0

    def run(self):
        extra = []
        while not self.stopping.wait(1 / self.rate):
            began = time.monotonic()
            try:
                if len(extra) < 6 or len(extra) < 20 and self.random.random() < 0.5:
                    endpoint = self.random.choice(self.hosts).attach()
                    extra.append(endpoint)
                    self.live.append(endpoint)
                    self.made += 1
                else:
                    endpoint = extra.pop(self.random.randrange(len(extra)))
                    self.live.remove(endpoint)
                    endpoint.host.leave(endpoint)
                    endpoint.host.release(endpoint)
                    self.removed += 1
            except (PluginError, OSError) as error:
                self.errors[f"{type(error).__name__}: {error}"] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)

    def finish(self):
        self.stopping.set()
        self.join()


def ranges(names):
    """Writes h1 h2 h3 h5 as h1-h3 h5."""
    numbers = sorted(int(name[1:]) for name in names)
    parts = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return " ".join(f"h{first}" if first == last else f"h{first}-h{last}" for first, last in parts)


def time_line(samples, began, healed):
    """One line for what several nodes began to report, about the same nodes, in the same second."""
    last, changes = {}, []
    for at, observer, said in samples:
        if said is None:
            said = {"itself": ("no answer", "")}
        else:
            said = {"itself": ("answers", ""), **said}
        for subject, (state, reason) in said.items():
            before = last.get((observer, subject))
            if before is None or before != state:
                if before is not None or state not in WELL | {"answers"}:
                    changes.append((at, observer, subject, before, state, reason))
                last[observer, subject] = state
    groups = []  # (first, last, observers, subjects, before, state, reasons)
    for at, observer, subject, before, state, reason in changes:
        for group in groups:
            if at - group[0] < 1.5 and group[4:6] == [before, state] and (subject == "itself") == (group[3] == {"itself"}):
                pairs = group[7]
                pairs.add((observer, subject))
                group[1], group[2], group[3] = at, group[2] | {observer}, group[3] | {subject}
                group[6][reason] += 1
                break
        else:
            groups.append([at, at, {observer}, {subject}, before, state, collections.Counter([reason]), {(observer, subject)}])
    lines = []
    for first, end_, _, _, before, state, reasons, pairs in groups:
        when = f"{first - began:+6.1f}" + (f"…{end_ - began:.1f} s" if end_ - first > 0.05 else " s")
        reason = "; ".join(text for text, _ in reasons.most_common(2) if text)
        for observers, subjects in stars(pairs):
            if subjects == {"itself"}:
                text = f"{ranges(observers)} {'answer again' if state == 'answers' else 'do not answer'}"
            else:
                text = f"{ranges(observers)} of {ranges(subjects)}: {before or '-'} → {state}" + (f"   [{reason}]" if reason else "")
            lines.append((first, f"  {when:16} {text}"))
    lines.append((healed, f"  {healed - began:+6.1f} s         -- the fault ends --"))
    for _, text in sorted(lines, key=lambda entry: entry[0]):
        print(text)


def stars(pairs):
    """Groups pairs by observer or subject, into as few groups as possible."""
    pairs = set(pairs)
    while pairs:
        by = [{}, {}]
        for pair in pairs:
            for side in (0, 1):
                by[side].setdefault(pair[side], set()).add(pair)
        _, side, _, group = max(
            (len(group), side, name, group) for side in (1, 0) for name, group in by[side].items())
        pairs -= group
        yield {observer for observer, _ in group}, {subject for _, subject in group}


def begin_fault(mesh, name, who, other):
    if name == "stop":
        os.kill(who.daemon.pid, signal.SIGSTOP)
    elif name == "kill":
        end(who.daemon)
    elif name == "one-way":
        other.filter([f"ip saddr {who.address}"])
    elif name == "loss":
        for host in mesh.hosts:
            host.filter([f"meta l4proto {{ tcp, udp }} th dport {PORT} numgen random mod 100 < 20",
                         f"tcp sport {PORT} numgen random mod 100 < 20"])
    elif name == "udp":
        for host in mesh.hosts:
            host.filter([f"udp dport {PORT}" if host is who else f"ip saddr {who.address} udp dport {PORT}"])


def end_fault(mesh, name, who):
    if name == "stop":
        os.kill(who.daemon.pid, signal.SIGCONT)
    elif name == "kill":
        who.plugin.close()
        who.control.close()
        who.start()
    else:
        for host in mesh.hosts:
            host.filter([])


def check_states(fault, samples, began, healed, who, others):
    """Compares the table at the top with what was reported."""
    passed = True
    false_claims, odd = [], collections.Counter()
    for at, observer, said in samples:
        sick_now = fault.is_sick and began <= at
        for subject, (state, reason) in (said or {}).items():
            if sick_now and observer == who.name and at < healed:
                continue
            if sick_now and subject == who.name and at < healed + WITHIN["healthy again"]:
                if at < healed and state not in fault.may:
                    odd[state] += 1
            elif state in NEVER_OF_HEALTHY:
                false_claims.append((at - began, observer, subject, state, reason))
    text = "no healthy node said of a healthy one that it is " + " or ".join(sorted(NEVER_OF_HEALTHY))
    if false_claims:
        pairs = collections.Counter((observer, subject, state) for _, observer, subject, state, _ in false_claims)
        shown = ", ".join(f"{o} of {s}: {state}" for (o, s, state), _ in pairs.most_common(6))
        text += f": {len(pairs)} pairs did, first at {false_claims[0][0]:+.1f} s ({shown}{', …' if len(pairs) > 6 else ''})"
    passed &= verdict(not false_claims, text)
    if fault.is_sick:
        passed &= verdict(not odd, f"of {who.name}, nobody said but {', '.join(sorted(fault.may))}"
                          + (f": {', '.join(odd)}" if odd else ""))
    groups = {"who": [who.name], "others": [host.name for host in others]}
    for observers, subjects, states, within in fault.must:
        first = {}
        for at, observer, said in samples:
            for subject, (state, _) in (said or {}).items():
                if began <= at < healed and observer in groups[observers] and subject in groups[subjects] and state in states:
                    first.setdefault((observer, subject), at - began)
        pairs = [(o, s) for o in groups[observers] for s in groups[subjects]]
        missing = [pair for pair in pairs if first.get(pair, math.inf) > within]
        slowest = f"; the last after {max(first.values()):.1f} s" if first else ""
        passed &= verdict(not missing, f"{ranges(groups[observers])} of {ranges(groups[subjects])}: {' or '.join(sorted(states))} within "
                          f"{within} s, in {len(pairs) - len(missing)} of {len(pairs)} pairs{slowest}")
    return passed


def one_fault(mesh, name, live, base):
    fault = FAULTS[name]
    # Not the first host, which is the catalogue's writer; its absence is measured elsewhere.
    who, other = mesh.hosts[min(2, mesh.count - 1)], mesh.hosts[min(4, mesh.count - 2)]
    others = [host for host in mesh.hosts if host is not who]
    whom = f"{who.name} to {other.name}" if name == "one-way" else "" if name == "loss" else who.name
    print(f"\n== {name}: {fault.title}, {fault.seconds:.0f} s" + (f" ({whom})" if whom else ""), flush=True)
    samples, lock = [], threading.Lock()
    samplers = [Sampler(host, samples, lock) for host in mesh.hosts]
    for sampler in samplers:
        sampler.start()
    time.sleep(1)
    churn = Churn(live, others if fault.is_sick else mesh.hosts, fault.churn, seed=1)
    wanted = {host: {row for row in host.wanted(base) if row[0] != "flood"} for host in mesh.hosts}
    lost, looks = collections.Counter(), 0
    began = time.monotonic()
    begin_fault(mesh, name, who, other)
    churn.start()
    # During the fault, rows of endpoints that nobody removed stay on every host.
    while time.monotonic() - began < fault.seconds:
        looks += 1
        for host in mesh.hosts:
            for row in wanted[host] - host.rows():
                lost[host.name, row] += 1
        time.sleep(0.25)
    churn.finish()
    dropped = sum(host.filtered() for host in mesh.hosts)
    healed = time.monotonic()
    end_fault(mesh, name, who)
    if name == "kill":
        who.wait()
        print(f"  the daemon serves {time.monotonic() - healed:.2f} s after its restart")
    rows = mesh.wait_rows(live, 60)
    rows_after = time.monotonic() - healed if rows is not None else None
    well = mesh.wait_well(60)
    well_after = time.monotonic() - healed if well is not None else None
    time.sleep(2 * Sampler.PERIOD)
    for sampler in samplers:
        sampler.stopping.set()
    for sampler in samplers:
        sampler.join()
    samples.sort(key=lambda sample: sample[0])
    time_line(samples, began, healed)
    print(f"  meanwhile {churn.made} endpoints made, {churn.removed} removed, the slowest in {1000 * churn.slowest:.0f} ms; "
          f"{sum(churn.errors.values())} refused; {dropped} packets dropped" + "".join(f"\n    {count} × {text}" for text, count in churn.errors.most_common(5)))

    passed = check_states(fault, samples, began, healed, who, others)
    passed &= verdict(not lost, f"in {looks} looks, no row of a live endpoint was missing on any host during the fault"
                      + (f": {len(lost)} were, e.g. {next(iter(lost))}" if lost else ""))
    passed &= verdict(rows_after is not None and rows_after <= WITHIN["rows"],
                      "C: every kernel holds the rows and neighbours of the "
                      f"{len(live)} live endpoints and no others, {seconds(rows_after)} after the end of the fault; limit {WITHIN['rows']:.0f} s")
    passed &= verdict(well_after is not None and well_after <= WITHIN["well"],
                      f"everybody is {' or '.join(sorted(WELL))} to everybody {seconds(well_after)} after the end of the fault; limit "
                      f"{WITHIN['well']:.0f} s")
    return passed


def faults(mesh, arguments):
    names = arguments.only.split(",") if arguments.only else list(FAULTS)
    for name in names:
        if name not in FAULTS:
            raise MeshError(f"no such fault: {name} ({', '.join(FAULTS)})")
    mesh.up()
    mesh.networks()
    base = [host.attach() for host in mesh.hosts for _ in range(2)]
    live = list(base)
    if mesh.wait_rows(live, 30) is None or mesh.wait_well(30) is None:
        return verdict(False, "the mesh is not at rest")
    said = json.loads(mesh.hosts[0].cli("node", "ls", "--format", "json"))
    print(f"states are read from the control socket (what `node ls --format json` prints: {len(said)} nodes, fields "
          f"{', '.join(sorted(said[0]))})")
    results = {}
    for name in names:
        results[name] = one_fault(mesh, name, live, base)
        for endpoint in [endpoint for endpoint in live if endpoint not in base]:
            endpoint.host.leave(endpoint)
            endpoint.host.release(endpoint)
            live.remove(endpoint)
        if mesh.wait_rows(live, 30) is None or mesh.wait_well(60) is None:
            results[name] = verdict(False, "the mesh does not come to rest")
            break
    print()
    for name, passed in results.items():
        verdict(passed, name)
    return all(results.values()) and len(results) == len(names)
