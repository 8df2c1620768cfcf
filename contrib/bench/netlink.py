"""Reads and watches the neighbour rows of a kernel by rtnetlink."""

import socket
import struct

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTNLGRP_NEIGH = 3
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NDA_DST, NDA_LLADDR = 1, 2
NUD_PERMANENT = 0x80
SIOCGIFNAME = 0x8910
AF_BRIDGE = 7
HEADER, NEIGHBOUR, ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBHiHBB"), struct.Struct("=HH")


def netlink_socket(groups=0):
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    netlink.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    netlink.bind((0, groups))
    return netlink


def neighbours(data):
    """Yields (message type, family, link, state, address or None, MAC or None) for every neighbour message."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, _, _, _ = HEADER.unpack_from(data, offset)
        if kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
            family, _, _, link, state, _, _ = NEIGHBOUR.unpack_from(data, offset + HEADER.size)
            address = mac = None
            at, limit = offset + HEADER.size + NEIGHBOUR.size, offset + length
            while at + ATTRIBUTE.size <= limit:
                size, attribute = ATTRIBUTE.unpack_from(data, at)
                if attribute == NDA_DST:
                    address = data[at + 4:at + size]
                elif attribute == NDA_LLADDR:
                    mac = data[at + 4:at + size]
                at += max(size + 3 & ~3, 4)
            yield kind, family, link, state, address, mac
        elif kind == NLMSG_ERROR:
            raise OSError(-struct.unpack_from("=i", data, offset + HEADER.size)[0], "netlink")
        elif kind == NLMSG_DONE:
            yield None
        offset += length + 3 & ~3


def dump(netlink, family):
    netlink.send(HEADER.pack(HEADER.size + NEIGHBOUR.size, RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
                 + NEIGHBOUR.pack(family, 0, 0, 0, 0, 0, 0))
    rows = []
    while True:
        for row in neighbours(netlink.recv(1 << 17)):
            if row is None:
                return rows
            rows.append(row[1:])
