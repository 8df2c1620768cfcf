"""VXLAN frames from a program that is no tunnel, and their count at a container.

strangers.py send TARGET VNI ADDRESS COUNT [SOURCE]     frames of broadcast with UDP to ADDRESS; SOURCE is a forged sender (CAP_NET_RAW)
strangers.py count SECONDS                              prints "ready", and the number of such datagrams that came in this time
"""
import ipaddress
import socket
import struct
import sys
import time


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source, target, payload, source_port, target_port):
    udp = struct.pack("!HHHH", source_port, target_port, 8 + len(payload), 0) + payload
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed
    )
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + udp


if sys.argv[1] == "send":
    target, vni, address, count = sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
    inner = packet(str(ipaddress.ip_address(address) + 1), address, b"stranger", 4096, 12345)
    frame = b"\xff" * 6 + b"\x02\xee\0\0\0\1" + b"\x08\0" + inner
    datagram = b"\x08\0\0\0" + struct.pack("!I", vni << 8) + frame
    forged = sys.argv[6] if len(sys.argv) > 6 else None
    if forged:
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        datagram = packet(forged, target, datagram, 40000, 4789)
    else:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number in range(count):
        try:
            s.sendto(datagram, (target, 0 if forged else 4789))
        except PermissionError:
            # The host's own filter says so to a program of its own.
            pass
        if number % 50 == 49:
            time.sleep(0.01)
else:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    s.bind(("", 12345))
    print("ready", flush=True)
    end = time.monotonic() + float(sys.argv[2])
    heard = 0
    while (left := end - time.monotonic()) > 0:
        s.settimeout(left)
        try:
            s.recvfrom(1500)
        except TimeoutError:
            break
        heard += 1
    print(heard)
