"""The loop of qmail-smtpd: reads the connection, feeds the dialogue, asks DNS and the queue, writes replies and log."""

from __future__ import annotations

import os
import time

from qmail import home as homes
from qmail.control import shared
from qmail.ipme import interface_addresses
from qmail.queue.client import open_queue
from qmail.smtpd import replies, tls
from qmail.smtpd.dialogue import Dialogue
from qmail.smtpd.session import Leave, Session
from qmail.smtpd.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from qmail.smtpd.session import Lookups, Queue
    from qserver.net.connection import Connection


class World:
    """The real outside of a session: descriptor 2, the clock, the queue, the resolver, the kernel."""

    __slots__ = ("_env", "_home", "_resolver", "pid")

    def __init__(self, home: str, env: Mapping[str, str]) -> None:
        self._home = home
        self._env = env
        self._resolver: Lookups | None = None
        self.pid = os.getpid()

    def log(self, line: bytes) -> None:
        """One write per line; a log that cannot be written stops no mail."""
        try:
            os.write(2, line)
        except OSError:
            return

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def pause(self, seconds: int) -> None:
        """Let the client wait."""
        time.sleep(seconds)

    def open_queue(self, env: Mapping[str, str]) -> Queue:
        """A queue for one message. Raises OSError."""
        return open_queue(self._home, env)

    def interface_addresses(self) -> frozenset[str]:
        """The addresses of this host; the conversation ends if the kernel does not tell."""
        try:
            return interface_addresses()
        except OSError:
            raise Leave(replies.NO_INTERFACES) from None

    def resolver(self) -> Lookups:
        """The session's resolver, made when it is first needed."""
        if self._resolver is None:
            from qserver.net.lookup import Resolver

            self._resolver = Resolver(self._env)
        return self._resolver


def serve(env: Mapping[str, str], connection: Connection) -> int:
    """One conversation; returns the exit code (0 only after QUIT)."""
    try:
        dialogue = start(env, connection)
        return converse(dialogue, connection)
    except Leave as leaving:
        return _last_word(connection, leaving)
    except MemoryError:
        return _last_word(connection, Leave(replies.OUT_OF_MEMORY))


def start(env: Mapping[str, str], connection: Connection) -> Dialogue:
    """Read what there is to read. Raises Leave for a conversation that cannot begin."""
    home = homes.home(env)
    try:
        settings = Settings(shared(home), env)
    except OSError:
        raise Leave(replies.NO_CONTROLS) from None
    connection.set_timeout(settings.timeout)
    try:
        secured = tls.at_connect(settings.localport, env)
    except tls.NoTls:
        raise Leave(replies.NO_TLS) from None
    session = Session(settings, env, World(home, env), secured)
    tls.trust_certificate(session)
    return Dialogue(session)


def converse(dialogue: Dialogue, connection: Connection) -> int:
    """Read and answer until one side has had enough. A client that is gone or does not read ends it silently."""
    answer = dialogue.greeting()
    try:
        while dialogue.code is None:
            if answer:
                connection.write(answer)
            block = _read(dialogue, connection)
            answer = dialogue.feed(block) if block else b""
        if answer:
            connection.write(answer)
    except OSError:  # TimeoutError too: the client takes nothing
        dialogue.disconnected()
        return 1
    except (Leave, MemoryError):
        dialogue.disconnected()
        raise
    except Exception:
        dialogue.disconnected()
        _last_word(connection, Leave(replies.BUG))
        raise
    return dialogue.code


def _read(dialogue: Dialogue, connection: Connection) -> bytes:
    """The next block; b"" when there will be none, the dialogue then being over."""
    try:
        block = connection.read()
    except TimeoutError:
        raise Leave(replies.TIMEOUT) from None
    if not block:
        dialogue.disconnected()
    return block


def _last_word(connection: Connection, leaving: Leave) -> int:
    try:
        connection.write(leaving.reply)
    except OSError:
        return 1
    return leaving.code
