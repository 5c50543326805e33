"""A scripted SMTP server on a loopback port that the kernel chose."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Talk:
    """What one client said: its command lines and the message, dot-stuffed as it came."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.message = b""


class SmtpServer:
    """Answers each command by the first script entry whose key it begins with.

    Keys: "" the greeting, "." the end of the message, else a verb. Values: the reply's bytes; None hangs up; a number
    of seconds says nothing for so long (or until the client goes).
    """

    def __init__(self, script: Mapping[str, bytes | float | None]) -> None:
        self.script = {"": b"220 hi\r\n", ".": b"250 ok\r\n", "DATA": b"354 go\r\n", "QUIT": b"221 bye\r\n", **script}
        self.talks: list[Talk] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Stop listening, wait for the last client."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            talk = Talk()
            self.talks.append(talk)
            with client, client.makefile("rb") as reader:
                client.settimeout(10)
                try:
                    self._serve(client, reader, talk)
                except OSError:
                    continue

    def _serve(self, client: socket.socket, reader: Iterator[bytes], talk: Talk) -> None:
        if not self._answer(client, ""):
            return
        for line in reader:
            talk.commands.append(line)
            verb = line.decode("latin-1").strip()
            key = next((key for key in self.script if key and verb.upper().startswith(key.upper())), None)
            if not self._answer(client, key if key is not None else None):
                return
            if verb == "DATA" and isinstance(self.script["DATA"], bytes) and self.script["DATA"][:1] in b"23":
                for body in reader:
                    if body == b".\r\n":
                        break
                    talk.message += body
                else:
                    return
                if not self._answer(client, "."):
                    return

    def _answer(self, client: socket.socket, key: str | None) -> bool:
        answer = b"250 ok\r\n" if key is None else self.script[key]
        if isinstance(answer, bytes):
            client.sendall(answer)
            return True
        if answer is not None:
            client.settimeout(answer)
            try:
                client.recv(1)
            except TimeoutError:
                pass
        return False


@contextmanager
def smtp_server(script: Mapping[str, bytes | float | None] | None = None) -> Iterator[SmtpServer]:
    """A server for the length of the block."""
    server = SmtpServer(script or {})
    try:
        yield server
    finally:
        server.close()
