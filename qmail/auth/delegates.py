"""Tokens that leave the verdict to another: vmailmgr, vpopmail, Dovecot (access 4.3, 4.5)."""

from __future__ import annotations

import _socket
import binascii
import os

from qmail.auth.checkpassword import ACCEPTED, INPUT_FD, REJECTED, TEMPORARY, Credentials
from qserver.base import chain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

WRAPPERS: dict[bytes, list[str]] = {
    b"+": ["checkvpw", "true", "Maildir"],
    b"&": ["vchkpw", "true"],
}
DOVECOT_TIMEOUT = 10.0
DOVECOT_LIMIT = 1 << 16
"""No line of the auth protocol is longer (Dovecot says 8192)."""


def run_wrapper(token: bytes, data: bytes, env: dict[str, str], fds: Mapping[int, int]) -> int:
    """The exit code of a virtual manager's module given the same bytes; 111 when it cannot be run or crashed.

    `fds` are the module's descriptors besides 3. `data` is at most INPUT_LIMIT bytes, which any pipe holds.
    """
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, data)
    finally:
        os.close(write_end)
    try:
        pid = chain.spawn(WRAPPERS[token], env, {**fds, INPUT_FD: read_end})
    except OSError:
        return TEMPORARY
    finally:
        os.close(read_end)
    status = os.waitpid(pid, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else TEMPORARY


def ask_dovecot(path: str, service: str, who: Credentials) -> int:
    """One PLAIN request over Dovecot's auth-client protocol (version 1) on the socket `path`."""
    peer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        peer.settimeout(DOVECOT_TIMEOUT)
        peer.connect(path)
        return _dovecot_dialogue(_Reader(peer), service, who)
    except (OSError, ValueError):
        return TEMPORARY
    finally:
        peer.close()


class _Reader:
    """Lines of a socket. Raises OSError for silence, and EOFError's cousin ConnectionError at its end."""

    def __init__(self, peer: _socket.socket) -> None:
        self.peer = peer
        self._data = b""

    def line(self) -> bytes:
        while b"\n" not in self._data:
            block = self.peer.recv(4096)
            if not block or len(self._data) > DOVECOT_LIMIT:
                raise ConnectionResetError
            self._data += block
        line, _, self._data = self._data.partition(b"\n")
        return line


def _dovecot_dialogue(reader: _Reader, service: str, who: Credentials) -> int:
    version_seen = False
    while (line := reader.line()) != b"DONE":
        version_seen |= line.startswith(b"VERSION\t1\t")
    if not version_seen:
        return TEMPORARY
    response = binascii.b2a_base64(b"\0" + who.login + b"\0" + who.response, newline=False)
    hello = b"VERSION\t1\t2\nCPID\t%d\n" % os.getpid()
    reader.peer.sendall(hello + b"AUTH\t1\tPLAIN\tservice=%b\tresp=%b\n" % (os.fsencode(service), response))
    fields = reader.line().split(b"\t")
    if fields[:2] == [b"OK", b"1"]:
        return ACCEPTED
    if fields[:2] == [b"FAIL", b"1"]:
        return TEMPORARY if b"temp" in fields else REJECTED
    return TEMPORARY
