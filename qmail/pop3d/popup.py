"""The loop of qmail-popup: greets, reads the connection up to the login, has the subprogram run, logs."""

from __future__ import annotations

import os
import time

from qmail.auth.checkpassword import pack
from qmail.pop3d import log, subprogram
from qmail.pop3d.authorization import (
    Authorization,
    Ending,
    Login,
    Quit,
    StartTls,
    TlsMissing,
    apop_mode,
    tls_mode,
)
from qmail.pop3d.grammar import Lines, LineTooLong, err
from qmail.pop3d.mailbox import TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.net.connection import Connection

EXIT = 1
"""qmail-popup's exit code, whatever happened."""
TLS_FAILED = err(b"TLS startup failed")
FAILED = err(b"authorization failed")
CRASHED = err(b"aack, child crashed")


def serve_login(argv: list[str], env: dict[str, str], connection: Connection) -> int:
    """One session: `argv` is qmail-popup, the host name, the subprogram and its arguments."""
    try:
        if len(argv) < 3:
            connection.write(err(b"usage: popup hostname subprogram"))
            return EXIT
        connection.set_timeout(TIMEOUT)
        _Popup(argv, env, connection).serve()
    except OSError:  # the client is gone, or too slow
        return EXIT
    return EXIT


class _Popup:
    """What one session knows."""

    __slots__ = ("connection", "dialogue", "env", "protocol", "subprogram")

    def __init__(self, argv: list[str], env: dict[str, str], connection: Connection) -> None:
        self.env = env
        self.connection = connection
        self.subprogram = argv[2:]
        stamp = os.fsencode(f"<{os.getpid()}.{int(time.time())}@{argv[1]}>")
        self.dialogue = Authorization(stamp, apop_mode(env), tls_mode(env))
        self.protocol = log.protocol(env)

    def serve(self) -> None:
        """Greet and answer until somebody has had enough. Raises OSError when the client is gone."""
        self.connection.write(self.dialogue.greeting())
        lines = Lines()
        while data := self.connection.read():
            try:
                ending = self._answer(lines.feed(data))
            except LineTooLong:
                return
            if isinstance(ending, StartTls):
                if not self._start_tls():
                    return
                lines = Lines()  # what came with STLS was not said inside TLS
            elif ending is not None:
                self._end(ending)
                return

    def _answer(self, batch: list[bytes]) -> Ending | None:
        """Answer the lines that came together, in one write, up to one that ends this part of the dialogue."""
        replies: list[bytes] = []
        ending: Ending | None = None
        for line in batch:
            answer = self.dialogue.command(line)
            if not isinstance(answer, bytes):
                ending = answer
                replies.append(answer.reply)
                break
            replies.append(answer)
        if any(replies):
            self.connection.write(b"".join(replies))
        return ending

    def _start_tls(self) -> bool:
        try:
            self.env = {**self.env, **self.connection.starttls(self.env)}
        except OSError:
            self.connection.write(TLS_FAILED)
            return False
        self.dialogue.tls_started()
        self.protocol = "POP3S"
        return True

    def _end(self, ending: Login | TlsMissing | Quit) -> None:
        """What follows the last command."""
        if isinstance(ending, Login):
            self._log_in(ending)
        elif isinstance(ending, TlsMissing):
            log.write_line(log.session_line(self.env, "Reject::STLS::Any", "POP3", b"unknown"))

    def _log_in(self, login: Login) -> None:
        """Run the subprogram; after an accepted login the whole POP3 session is over when it returns."""
        data = pack(login.name, login.response, self.dialogue.stamp)
        login.response = b""
        try:
            code = subprogram.run(self.subprogram, self.env, self.connection, data)
        except subprogram.StartFailed as failure:
            self.connection.write(err(str(failure).encode()))
            return
        del data
        verdict = f"{'Reject' if code else 'Accept'}::AUTH::{login.method}"
        line = log.session_line(self.env, verdict, self.protocol, login.name)
        try:
            if code:
                self.connection.write(CRASHED if code == subprogram.CRASHED else FAILED)
        finally:
            log.write_line(line)
