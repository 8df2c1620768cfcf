"""What a stranger can send to the port between nodes.

floods.py connections SOURCE TARGET SECONDS COUNT          silent connections, opened again where they are closed
floods.py frames SOURCE TARGET SECONDS COUNT NODE          as many frames of 4 MiB in the name of a member, each sent but for its end
floods.py hellos SOURCE TARGET SECONDS RATE                beginnings of joins, so many in a second
floods.py datagrams SOURCE TARGET SECONDS RATE             datagrams of no member, from port 0 and from addresses without a route (CAP_NET_RAW)

Prints how much it sent.
"""
import os
import resource
import selectors
import socket
import struct
import sys
import time
from collections import deque

kind, source, target, seconds, count = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5])
PORT = 7947
end = time.monotonic() + seconds
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connection():
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setblocking(False)
    # Sources do not share ports, so many more than the kernel's range are needed.
    s.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
    s.bind((source, 0))
    s.connect_ex((target, PORT))
    return s


def hold(beginning, rest):
    """Keeps `count` connections, each of which sends the beginning and then the rest piece by piece."""
    selector, opened, sent = selectors.EpollSelector(), 0, 0
    held = 0
    while time.monotonic() < end:
        for _ in range(min(count - held, 200)):
            try:
                s = connection()
            except OSError:
                break
            selector.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE, [beginning, rest])
            held += 1
            opened += 1
        for key, events in selector.select(0.02):
            state = key.data
            try:
                if events & selectors.EVENT_READ and not key.fileobj.recv(4096):
                    raise OSError
                if events & selectors.EVENT_WRITE:
                    if state[0]:
                        size = key.fileobj.send(state[0])
                        state[0] = state[0][size:]
                        sent += size
                    elif state[1] > 0:
                        size = key.fileobj.send(bytes(min(65536, state[1])))
                        state[1] -= size
                        sent += size
                    else:
                        selector.modify(key.fileobj, selectors.EVENT_READ, state)
            except BlockingIOError:
                pass
            except OSError:
                selector.unregister(key.fileobj)
                key.fileobj.close()
                held -= 1
    print(f"{opened} connections, {sent} bytes, {held} open at the end")


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def datagram(address, port):
    payload = b"\x02\x01\x01\x01" + os.urandom(44)
    udp = struct.pack("!HHHH", port, PORT, 8 + len(payload), 0) + payload
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, socket.inet_aton(address), socket.inet_aton(target)
    )
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + udp


if kind == "connections":
    hold(b"", 0)
elif kind == "frames":
    node = bytes.fromhex(sys.argv[6].replace("-", ""))
    hold(struct.pack("!I", 4 << 20) + b"\x02\x02\x01\x01" + node, (4 << 20) - 21)
elif kind == "hellos":
    sent, opening, asking, begin = 0, deque(), deque(), time.monotonic()
    while (now := time.monotonic()) < end:
        while sent < (now - begin) * count:
            try:
                opening.append(connection())
            except OSError:
                break
            # A connection is open by then, or never.
            if len(opening) > 200:
                s = opening.popleft()
                try:
                    s.send(struct.pack("!I", 34) + b"\x02\x03" + os.urandom(32))
                except OSError:
                    pass
                sent += 1
                asking.append(s)
            if len(asking) > 2000:
                asking.popleft().close()
        time.sleep(0.001)
    print(f"{sent} hellos")
elif kind == "datagrams":
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sent, begin = 0, time.monotonic()
    # TEST-NET-3, which has no route here.
    forged = [datagram(source, 0), datagram("203.0.113.7", 7947), datagram("203.0.113.8", 0)]
    while (now := time.monotonic()) < end:
        while sent < (now - begin) * count:
            s.sendto(forged[sent % 3], (target, 0))
            sent += 1
        time.sleep(0.001)
    print(f"{sent} datagrams")
