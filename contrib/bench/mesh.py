"""The working half of `mesh`; standard library only. See `mesh --help`."""

import argparse
import pathlib
import signal
import sys

from catalogue import allocate, create
from converge import converge
from detach import detach
from faults import FAULTS, faults
from hosts import Mesh, MeshError, PluginError
from idle import idle
from restart import restart
from secrecy import secrecy


def main():
    parser = argparse.ArgumentParser(
        prog="mesh", description="swift-overlay daemons on real sockets, without engines: N hosts in namespaces on one bridge; this "
        "script makes the calls of engines on their plugin sockets. Exit 1 when a target is missed.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--binary", help="default: $SWIFT_OVERLAY_BINARY, else the release build of this checkout")
    common.add_argument("--state-dir-root", type=pathlib.Path, metavar="DIR", help="state on this disk; default: a tmpfs")
    common.add_argument("--logs", type=pathlib.Path, metavar="DIR", help="keep the daemons' logs there")
    common.add_argument("--log-level", default="info")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("converge", parents=[common], help="time from an address handed out to the row on all other nodes")
    one.add_argument("--nodes", type=int, default=10)
    one.add_argument("--samples", type=int, default=200)
    one.add_argument("--pause", type=float, default=20, metavar="MS", help="between samples (default 20)")
    two = commands.add_parser("faults", parents=[common], help="what nodes report, and what kernels hold, during faults")
    two.add_argument("--nodes", type=int, default=10)
    two.add_argument("--only", metavar="FAULT[,FAULT…]", help=f"one or more of {', '.join(FAULTS)}")
    three = commands.add_parser("idle", parents=[common], help="memory, CPU and packets of idle daemons")
    three.add_argument("--nodes", type=int, default=100)
    three.add_argument("--seconds", type=int, default=60)
    three.add_argument("--endpoints", type=int, default=10, help="number of nodes that have one endpoint each (default 10)")
    four = commands.add_parser("create", parents=[common], help="networks created by all hosts at once, half of them with equal names")
    four.add_argument("--nodes", type=int, default=3)
    four.add_argument("--networks", type=int, default=1000)
    four.add_argument("--callers", type=int, default=8, help="on each host (default 8)")
    five = commands.add_parser("allocate", parents=[common], help="addresses handed out durably by one host")
    five.add_argument("--nodes", type=int, default=2)
    five.add_argument("--addresses", type=int, default=20_000)
    five.add_argument("--callers", type=int, default=64)
    six = commands.add_parser("secrecy", parents=[common], help="what can be read on the wire, and what strangers and removed nodes achieve")
    six.add_argument("--nodes", type=int, default=4)
    seven = commands.add_parser("detach", parents=[common], help="ends of endpoints as an engine waits for them, beside the kernel's own time")
    seven.add_argument("--nodes", type=int, default=2)
    seven.add_argument("--endpoints", type=int, default=100)
    seven.add_argument("--before", metavar="BINARY", help="an earlier build, measured in turn on another host")
    eight = commands.add_parser("restart", parents=[common], help="restart of a daemon with many endpoints, and many of other hosts")
    eight.add_argument("--nodes", type=int, default=3)
    eight.add_argument("--endpoints", type=int, default=1000, help="of the host whose daemon restarts (default 1000)")
    eight.add_argument("--remote", type=int, default=10_000, help="of all others (default 10000)")
    eight.add_argument("--networks", type=int, default=5)
    eight.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not 2 <= arguments.nodes <= 1000 or arguments.command == "faults" and arguments.nodes < 4:
        parser.error("so many nodes are not possible")

    def stop(number, _):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    sys.stdout.reconfigure(line_buffering=True)
    mesh = None
    try:
        mesh = Mesh(arguments)
        commands = {"converge": converge, "faults": faults, "idle": idle, "create": create, "allocate": allocate,
                    "secrecy": secrecy, "detach": detach, "restart": restart}
        passed = commands[arguments.command](mesh, arguments)
    except (MeshError, PluginError, OSError) as error:
        print(f"mesh: {type(error).__name__}: {error}", file=sys.stderr)
        passed = False
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if mesh is not None:
            mesh.down()
    sys.exit(0 if passed else 1)


main()
