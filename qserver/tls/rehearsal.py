"""Those with whom sslserver's master rehearses: children that play a worker's relay, then a relay's worker and client."""

from __future__ import annotations

import _socket
import os

from qserver.base import signals
from qserver.net.rehearsal import TIMES
from qserver.tls.exchange import shut_writing
from qserver.tls.library import BLOCK, Context, Trouble
from qserver.tls.relay import NEVER_ASKED, Order, Relay, close_all, read_order, send
from qserver.tls.worker import Secured

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qserver.net.programs import Called
    from qserver.net.site import Site
    from qserver.tls.kit import Kit
    from qserver.tls.library import Session
    from qserver.tls.log import TlsLog
    from qserver.tls.options import TlsOptions

PATIENCE = 5
"""Seconds after which a child that is left alone is gone."""
FLIGHTS = 4
"""More than any handshake has."""
AT_ONCE = 2
"""Descriptors of an order for TLS at once: the client, the program."""


def play(stage: Site, program: Called, kit: Kit) -> None:
    """The master as a worker, then as a relay."""
    options: TlsOptions = stage.options  # type: ignore[assignment]
    log: TlsLog = stage.log  # type: ignore[assignment]
    ours, partner = _with(_play_relay, program.rehearsal)
    try:
        for _ in range(TIMES):
            Secured(stage, 0, program, ours).rehearse(program.rehearsal)
    finally:
        ours.close()
        os.waitpid(partner, 0)
    ours, partner = _with(_play_others, program.rehearsal)
    try:
        Relay(ours, kit, options, log, stage.titles).run()
    finally:
        ours.close()
        os.waitpid(partner, 0)


def _play_relay(channel: _socket.socket, words: bytes) -> None:
    """Take orders, say the words to the program, hear it out."""
    while fds := read_order(channel)[1]:
        if len(fds) == AT_ONCE:
            try:
                _hear_out(fds[1], words)
            except OSError:  # the program has gone: it has no home
                pass
        close_all(fds)
        channel.send(bytes((0 if len(fds) == AT_ONCE else NEVER_ASKED,)))


def _hear_out(fd: int, words: bytes) -> None:
    os.write(fd, words)
    shut_writing(fd)
    while os.read(fd, BLOCK):
        pass


def _play_others(channel: _socket.socket, words: bytes) -> None:
    """Order sessions of a relay; be program and client of each."""
    context = Context(server=False)
    context.demand(verify=False)
    for _ in range(TIMES):
        (client, theirs), (program, its) = _pair(), _pair()
        send(channel, Order(os.getpid(), "127.0.0.1", None, b""), [theirs.fileno(), its.fileno()])
        theirs.close()
        its.close()
        _converse(context.session(), client, program, words)
        client.close()
        program.close()
        channel.recv(1)


def _pair(kind: int = _socket.SOCK_STREAM) -> tuple[_socket.socket, _socket.socket]:
    return _socket.socketpair(_socket.AF_UNIX, kind | _socket.SOCK_CLOEXEC)


def _converse(tls: Session, client: _socket.socket, program: _socket.socket, words: bytes) -> None:
    """A greeting, the client's words, an answer, the end. Raises Trouble, OSError."""
    program.send(words)
    for _ in range(FLIGHTS):
        done = tls.handshake()
        client.send(tls.output())
        if done:
            break
        tls.feed(client.recv(BLOCK))
    for _ in range(2):
        while tls.read(tls.room) is None:
            tls.feed(client.recv(BLOCK))
        tls.write(words)
        client.send(tls.output())
        program.recv(BLOCK)
        program.send(words)


def _with(play: Callable[[_socket.socket, bytes], None], words: bytes) -> tuple[_socket.socket, int]:
    """A channel to a child that plays, and its pid. What goes wrong there ends the rehearsal, and nothing else."""
    ours, theirs = _pair(_socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            signals.default(*signals.changed())
            signals.alarm(PATIENCE)
            play(theirs, words)
        except (OSError, Trouble):
            os._exit(1)
        finally:
            os._exit(0)
    theirs.close()
    return ours, pid
