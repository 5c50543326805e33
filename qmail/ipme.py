"""The addresses of this machine's interfaces, asked of the kernel over rtnetlink(7) (ipme.c)."""

from __future__ import annotations

import _socket
import os
import struct

RTM_GETADDR = 22
RTM_NEWADDR = 20
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST_DUMP = 0x301
IFA_ADDRESS = 1
IFA_LOCAL = 2
HEADER = struct.Struct("=LHHLL")
"""struct nlmsghdr: length, type, flags, sequence, pid."""
IFADDRMSG = struct.Struct("=BBBBL")
ATTRIBUTE = struct.Struct("=HH")


def interface_addresses() -> frozenset[str]:
    """Every IPv4 and IPv6 address of every interface, as text in its usual form. Raises OSError."""
    question = IFADDRMSG.pack(_socket.AF_UNSPEC, 0, 0, 0, 0)
    found: set[str] = set()
    asker = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, 0)
    try:
        asker.send(HEADER.pack(HEADER.size + len(question), RTM_GETADDR, NLM_F_REQUEST_DUMP, 1, 0) + question)
        while _take(asker.recv(1 << 18), found):
            pass
    finally:
        asker.close()
    return frozenset(found)


def canonical(literal: str) -> str | None:
    """An address in the form `interface_addresses` uses, or None when it is not one."""
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            return _socket.inet_ntop(family, _socket.inet_pton(family, literal))
        except (OSError, ValueError):
            continue
    return None


def _take(answer: bytes, found: set[str]) -> bool:
    """Add the addresses of one datagram; False when it was the last."""
    at = 0
    while at + HEADER.size <= len(answer):
        length, kind = HEADER.unpack_from(answer, at)[:2]
        if kind == NLMSG_DONE:
            return False
        if kind == NLMSG_ERROR:
            number = -struct.unpack_from("=i", answer, at + HEADER.size)[0]
            raise OSError(number, os.strerror(number))
        if kind == RTM_NEWADDR:
            _add(answer[at + HEADER.size : at + length], found)
        at += (length + 3) & ~3
    return True


def _add(message: bytes, found: set[str]) -> None:
    """Add the address one RTM_NEWADDR message tells of; on point-to-point links IFA_LOCAL is ours, not IFA_ADDRESS."""
    family = IFADDRMSG.unpack_from(message)[0]
    attributes: dict[int, bytes] = {}
    at = IFADDRMSG.size
    while at + ATTRIBUTE.size <= len(message):
        length, kind = ATTRIBUTE.unpack_from(message, at)
        attributes[kind] = message[at + ATTRIBUTE.size : at + length]
        at += max(ATTRIBUTE.size, (length + 3) & ~3)
    address = attributes.get(IFA_LOCAL, attributes.get(IFA_ADDRESS))
    if address is not None and family in (_socket.AF_INET, _socket.AF_INET6):
        found.add(_socket.inet_ntop(family, address))
