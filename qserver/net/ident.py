"""The ident query (RFC 1413) as tcp-environ wants it: the text after the third colon (ucspi 5)."""

from __future__ import annotations

import _socket
import errno
import select
import time

PORT = 113
LIMIT = 257
"""Octets of an answer that are kept."""
BLANKS = b" \t\r"
COLONS = 3


def ask(remote: tuple[str, str], local: tuple[str, str], scope: int, timeout: float, port: int = PORT) -> bytes | None:
    """Ask `remote`'s host who has the connection from `remote` to `local`, both (ip, port).

    None: no answer within `timeout` seconds, or not a whole line. An ERROR answer is the empty string.
    """
    deadline = time.monotonic() + timeout
    family = _socket.AF_INET6 if ":" in remote[0] else _socket.AF_INET
    try:
        asker = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    except OSError:
        return None
    try:
        asker.bind(_endpoint(family, local[0], 0, scope))
        _connect(asker, _endpoint(family, remote[0], port, scope), deadline)
        asker.send(f"{remote[1]} , {local[1]}\r\n".encode())
        return _read_answer(asker, deadline)
    except OSError:  # TimeoutError too
        return None
    finally:
        asker.close()


def _endpoint(family: int, ip: str, port: int, scope: int) -> tuple[str, int] | tuple[str, int, int, int]:
    return (ip, port, 0, scope) if family == _socket.AF_INET6 else (ip, port)


def _wait(asker: _socket.socket, event: int, deadline: float) -> None:
    """Raises TimeoutError."""
    poller = select.poll()
    poller.register(asker.fileno(), event)
    if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


def _connect(asker: _socket.socket, endpoint: tuple[str, int] | tuple[str, int, int, int], deadline: float) -> None:
    trouble = asker.connect_ex(endpoint)
    if trouble == errno.EINPROGRESS:
        _wait(asker, select.POLLOUT, deadline)
        trouble = asker.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
    if trouble:
        raise OSError(trouble, "ident")


def _read_answer(asker: _socket.socket, deadline: float) -> bytes | None:
    """Octet by octet as to meaning: blanks are dropped, three colons passed, the rest up to LF is the answer."""
    colons, answer = 0, bytearray()
    while True:
        _wait(asker, select.POLLIN, deadline)
        block = asker.recv(512)
        if not block:
            return None
        for octet in block:
            if octet == 0x0A:
                return bytes(answer)
            if octet in BLANKS:
                continue
            if colons < COLONS:
                colons += octet == 0x3A
            elif octet and len(answer) < LIMIT:
                answer.append(octet)
