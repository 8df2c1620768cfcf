"""Pings an address a thousand times a second until it gets SIGTERM, waits for what is on its way, and tells: pings.py ADDRESS

Ends with 1 when one was lost. By the clock: what the machine kept it from is sent late, a few at a time.
"""

import os
import select
import signal
import socket
import struct
import sys
import time

RATE = 1000
BURST = 20
WAIT = 3.0


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def main():
    address, ident = sys.argv[1], os.getpid() & 0xFFFF
    ending = []
    signal.signal(signal.SIGTERM, lambda number, frame: ending.append(number))
    icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    icmp.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    icmp.connect((address, 0))
    icmp.setblocking(False)
    # Number of a packet in its payload, as the sequence's 16 bits are used up in a minute.
    waiting, sent, refused, longest = {}, 0, 0, 0.0
    began = time.monotonic()
    until = began + WAIT
    while not ending or waiting and time.monotonic() < until:
        now = time.monotonic()
        if not ending:
            until = now + WAIT
            for _ in range(min(BURST, int((now - began) * RATE) - sent)):
                body = struct.pack("!Q", sent)
                head = struct.pack("!BBHHH", 8, 0, 0, ident, sent & 0xFFFF)
                try:
                    icmp.send(struct.pack("!BBHHH", 8, 0, checksum(head + body), ident, sent & 0xFFFF) + body)
                except OSError:
                    refused += 1
                waiting[sent] = time.monotonic()
                sent += 1
        if not select.select([icmp], [], [], 0.001)[0]:
            continue
        while True:
            try:
                data = icmp.recv(2048)
            except BlockingIOError:
                break
            except OSError:
                continue
            data = data[(data[0] & 15) * 4:]
            if len(data) == 16 and data[0] == 0 and struct.unpack_from("!H", data, 4)[0] == ident:
                at = waiting.pop(struct.unpack_from("!Q", data, 8)[0], None)
                if at is not None:
                    longest = max(longest, time.monotonic() - at)
    spent = time.monotonic() - began
    print(f"{sent} pings in {spent:.1f} s, {sent - len(waiting)} answered, {len(waiting)} lost ({refused} refused here); the slowest "
          f"took {1000 * longest:.0f} ms")
    if waiting:
        print(f"lost at second {', '.join(sorted({f'{at - began:.1f}' for at in waiting.values()}, key=float)[:20])}")
    sys.exit(1 if waiting else 0)


main()
