"""Asks one question at a time: dns_each.py SERVER NAME COUNT prints how long each answer took, in microseconds."""

import socket
import struct
import sys
import time

server, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
question = labels + b"\0" + struct.pack(">HH", 1, 1)
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(5)
client.connect((server, 53))
for number in range(count):
    message = struct.pack(">HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + question
    began = time.perf_counter_ns()
    client.send(message)
    answer = client.recv(4096)
    took = time.perf_counter_ns() - began
    if answer[:2] != message[:2] or answer[7] != 1:
        sys.exit(f"{server}: a wrong answer to {name}")
    print(took // 1000)
