"""Looks names up with Python. Usage as in lookup.c."""

import socket
import sys
import time

name = sys.argv[1]
if len(sys.argv) == 2:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        sys.exit(f"{name}: {error}")
    print("\n".join(item[4][0] for item in found))
    sys.exit()
failures, longest, stalls, which = 0, 0.0, 0, 0
for number in range(1, int(sys.argv[2]) + 1):
    began = time.monotonic()
    try:
        socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        failures += 1
    took = (time.monotonic() - began) * 1000
    stalls += took > 100
    if took > longest:
        longest, which = took, number
print(f"{failures} {longest:.1f} {stalls} {which}")
