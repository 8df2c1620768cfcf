"""Agreement and addresses: networks made by all hosts at once, and addresses handed out durably by one."""

import collections
import ipaddress
import json
import os
import select
import socket
import threading
import time

from hosts import Plugin, PluginError, machine, mac_text, quantile, verdict

# Commits a second while all hosts make networks.
CREATE = {"commits": 200}


def create(mesh, arguments):
    """Creates networks on all hosts at once. Half have distinct names; each other name is used by all hosts and must become one network."""
    mesh.up()
    hosts = mesh.hosts
    own = arguments.networks // 2
    names = {host: [] for host in hosts}
    for number in range(own):
        names[hosts[number % len(hosts)]].append(f"own-{number}")
    shared = (arguments.networks - own) // len(hosts)
    for number in range(shared):
        for host in hosts:
            names[host].append(f"shared-{number}")
    for host in hosts:
        # Both kinds in turn. For equal names, all hosts use the same one at the same time.
        names[host].sort(key=lambda name: int(name.split("-")[1]))
    made, refused = [], []
    before = hosts[0].control.get("/status")["catalogueIndex"]

    def work(host, share):
        plugin = Plugin(host.plugin.path, 30)
        for name in share:
            try:
                pool = plugin.call("IpamDriver.RequestPool", {
                    "AddressSpace": "swift-overlay", "Pool": "", "SubPool": "", "Options": {"net": name}, "V6": False})
                plugin.call("NetworkDriver.CreateNetwork", {
                    "NetworkID": os.urandom(32).hex(), "Options": {"com.docker.network.generic": {}},
                    "IPv4Data": [{"AddressSpace": "swift-overlay", "Pool": pool["Pool"],
                                  "Gateway": pool["Data"]["com.docker.network.gateway"]}], "IPv6Data": []})
                made.append((host.name, name, pool["Pool"]))
            except (PluginError, OSError) as error:
                refused.append(f"{host.name} {name}: {error}")
        plugin.close()

    threads = [threading.Thread(target=work, args=(host, names[host][lane::arguments.callers]))
               for host in hosts for lane in range(arguments.callers)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    commits = hosts[0].control.get("/status")["catalogueIndex"] - before
    wanted = {name for host in hosts for name in names[host]}

    deadline = time.monotonic() + 10
    while True:
        lists = [{network["name"]: (network["vni"], tuple(sorted(subnet["subnet"] for subnet in network["subnets"])))
                  for network in host.control.get("/networks")} for host in hosts]
        if all(set(listed) == wanted for listed in lists) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    first = lists[0]
    subnets = sorted((ipaddress.ip_network(subnet) for _, all_of_one in first.values() for subnet in all_of_one),
                     key=lambda subnet: (subnet.network_address, subnet.prefixlen))
    overlapping = [pair for pair in zip(subnets, subnets[1:]) if pair[0].overlaps(pair[1])]
    told = collections.defaultdict(set)
    for _, name, pool in made:
        told[name].add(pool)

    calls = sum(len(share) for share in names.values())
    print(f"\n{calls} times `network create` on {len(hosts)} hosts at once, {arguments.callers} callers on each: {own} names of their own, "
          f"{shared} made by all. {machine()}")
    for line in refused[:5]:
        print(f"  refused: {line}")
    passed = verdict(not refused, f"{len(refused)} refused")
    passed &= verdict(all(set(listed) == wanted for listed in lists), f"all hosts list the same {len(wanted)} networks, none is lost")
    passed &= verdict(all(listed == first for listed in lists), "with the same VNI and subnet everywhere")
    passed &= verdict(len({vni for vni, _ in first.values()}) == len(first) and not overlapping and len(subnets) == len(first),
                      "every VNI is used once, and no two subnets overlap")
    passed &= verdict(all(len(pools) == 1 for pools in told.values()), "who made the same network was told the same subnet")
    passed &= verdict(commits / took >= CREATE["commits"],
                      f"{commits} commits in {took:.2f} s: {commits / took:.0f}/s; target {CREATE['commits']}/s")
    return passed


def allocate(mesh, arguments):
    """RequestAddress over the plugin's socket, as an engine calls it; the answer comes when the address is on the disk."""
    mesh.up()
    mesh.networks()
    host = mesh.hosts[0]
    sync = fdatasync_time(host.state_folder)

    one = handed_out(host, 1, min(arguments.addresses, 2000))
    many = handed_out(host, arguments.callers, arguments.addresses)
    everything = one["addresses"] + many["addresses"]
    p50 = quantile(one["times"], 0.5) / 1e9
    rate = len(many["times"]) / many["took"]
    print(f"\nRequestAddress on one of {len(mesh.hosts)} hosts, every 16th with a block from the catalogue. {machine()}")
    print(f"{'ms':58}       p50       p99       max")
    for title, result in (("1 caller", one), (f"{arguments.callers} callers", many)):
        times = result["times"]
        print(f"{title:58}{quantile(times, 0.5) / 1e6:10.3f}{quantile(times, 0.99) / 1e6:10.3f}{max(times) / 1e6:10.3f}")
    print(f"{'one fdatasync of 4 KiB there':58}{sync * 1e3:10.3f}\n")
    print(f"{rate:.0f}/s with {arguments.callers} callers, p50 {p50 * 1e6:.0f} µs with one: with HTTP, with blocks asked for, and beside this "
          "script on the same cores. The targets are of the core and the store: contrib/bench/allocate.")
    return verdict(len(set(everything)) == len(everything), f"{len(everything)} addresses handed out, none twice")


def fdatasync_time(folder):
    path = folder / "sync-probe"
    times = []
    with open(path, "wb", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    path.unlink()
    return sorted(times)[len(times) // 2]


def handed_out(host, callers, count):
    """One thread plays all callers, each with a connection and one open call. The time of this thread is part of the measurement."""
    poll = select.epoll()
    sockets, since, times, addresses, left = {}, {}, [], [], count

    def ask(caller):
        body = json.dumps({
            "PoolID": host.pool, "Address": "",
            "Options": {"com.docker.network.endpoint.macaddress": mac_text(b"\x02\x42" + os.urandom(4))}}).encode()
        caller.send(b"POST /IpamDriver.RequestAddress HTTP/1.1\r\nHost: plugin\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        since[caller.fileno()] = time.monotonic_ns()

    for _ in range(callers):
        caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        caller.connect(host.plugin.path)
        sockets[caller.fileno()] = caller
        poll.register(caller, select.EPOLLIN)
    began = time.monotonic()
    for caller in list(sockets.values()):
        ask(caller)
        left -= 1
    under_way = len(sockets)
    while under_way:
        for number, _ in poll.poll(30):
            caller = sockets[number]
            data = caller.recv(65536)
            # Answers are small, so one read gets all of one.
            answer = json.loads(data[data.index(b"\r\n\r\n") + 4:])
            if not answer.get("Address"):
                raise PluginError(f"RequestAddress: {answer}")
            times.append(time.monotonic_ns() - since[number])
            addresses.append(answer["Address"])
            if left:
                ask(caller)
                left -= 1
            else:
                under_way -= 1
    took = time.monotonic() - began
    for caller in sockets.values():
        caller.close()
    return {"times": times, "addresses": addresses, "took": took}
