"""Multicast and broadcast from a program that binds no interface.

multicast.py receive GROUP PORT SECONDS     prints "TEXT from ADDRESS" for every datagram, until there were five
multicast.py send GROUP PORT TEXT           prints how often it was sent
"""
import socket
import struct
import sys
import time

role, group, port, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
family = socket.AF_INET6 if ":" in group else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
if role == "receive":
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", port))
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(family, group) + struct.pack("@I", 0))
    elif group != "255.255.255.255":
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", socket.inet_aton(group), b"\0" * 4))
    print("ready", flush=True)
    end = time.monotonic() + float(last)
    heard = 0
    while heard < 5 and (left := end - time.monotonic()) > 0:
        s.settimeout(left)
        try:
            data, source = s.recvfrom(1500)
        except TimeoutError:
            break
        heard += 1
        print(data.decode(), "from", source[0], flush=True)
else:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    for n in range(5):
        s.sendto(last.encode(), (group, port))
        time.sleep(0.1)
    print("sent")
