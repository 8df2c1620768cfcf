"""Uses addresses and MACs as programs in containers do, without those programs.

serve ADDRESS NAME             answers each datagram to ADDRESS:4999 with NAME, also while ADDRESS is on no interface
watch ADDRESS SECONDS          asks every 5 ms, and prints the time of each answer that differs from the one before
announce LINK ADDRESS [MAC]    announces ADDRESS at the MAC, else at that of the LINK; prints the time
"""

import fcntl
import select
import socket
import struct
import sys
import time

PORT = 4999
IPV6_FREEBIND = 78


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def arp(mac, address):
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + address + bytes(6) + address
    return b"\xff" * 6 + mac + b"\x08\x06" + body


def advertisement(mac, address):
    everybody = socket.inet_pton(socket.AF_INET6, "ff02::1")
    message = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + address + b"\x02\x01" + mac
    total = checksum(address + everybody + struct.pack("!II", len(message), 58) + message)
    message = message[:2] + struct.pack("!H", total) + message[4:]
    header = struct.pack("!IHBB", 0x60000000, len(message), 58, 255) + address + everybody
    return b"\x33\x33\x00\x00\x00\x01" + mac + b"\x86\xdd" + header + message


def announce(link, address, mac=None):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((link, 0))
        if mac:
            mac = bytes.fromhex(mac.replace(":", ""))
        else:
            mac = fcntl.ioctl(raw, 0x8927, struct.pack("256s", link.encode()))[18:24]  # SIOCGIFHWADDR
        if ":" in address:
            frame = advertisement(mac, socket.inet_pton(socket.AF_INET6, address))
        else:
            frame = arp(mac, socket.inet_aton(address))
        print(f"{time.time():.3f}", flush=True)
        raw.send(frame)


def datagrams(address):
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)


def serve(address, name):
    with datagrams(address) as server:
        if ":" in address:
            server.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        else:
            server.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
        server.bind((address, PORT))
        while True:
            question, source = server.recvfrom(100)
            try:
                server.sendto(name.encode(), source)
            except OSError:
                pass


def watch(address, seconds):
    last = None
    end = time.time() + float(seconds)
    with datagrams(address) as client:
        client.bind(("::" if ":" in address else "0.0.0.0", 0))
        while time.time() < end:
            try:
                client.sendto(b"?", (address, PORT))
            except OSError:
                pass
            if select.select([client], [], [], 0.005)[0]:
                try:
                    answer = client.recv(100).decode()
                except OSError:
                    continue
                if answer != last:
                    print(f"{time.time():.3f} {answer}", flush=True)
                    last = answer
            time.sleep(0.005)


{"serve": serve, "watch": watch, "announce": announce}[sys.argv[1]](*sys.argv[2:])
