"""sslserver for tests, and clients of it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.net.server import Server
from tests.support import environment, ours, spawn
from tests.tls.authority import Authority

POPUP = ("qmail-popup", "host", "true")
ECHO = ("/bin/sh", "-c", "echo hello; cat")


@contextmanager
def serving(
    tmp_path: Path,
    keys: tuple[Path, Path] | None,
    *program: str,
    options: Sequence[str] = ("-RHl0",),
    proxy: bool = False,
    **env: str,
) -> Iterator[Server]:
    """sslserver until the block ends."""
    log = tmp_path / "log"
    given = {"CERTFILE": str(keys[0]), "KEYFILE": str(keys[1])} if keys is not None else {}
    words = [ours("sslserver"), *(["--proxy"] if proxy else []), "-1v", *options, "127.0.0.1", "0", *program]
    with log.open("wb") as file, spawn(words, env=environment(**given, **env), stderr=file) as process:
        assert process.stdout is not None
        shown = re.fullmatch(r"127\.0\.0\.1 : (\d+) \[(\d+)/(\d+)\]\n", process.stdout.readline().decode())
        assert shown, log.read_text()
        server = Server(process, int(shown[1]), log)
        server.wait_line("status: 0/")
        yield server


def trusting(ca: Authority, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca.cafile))
    if version is not None:
        context.maximum_version = version
    return context


@contextmanager
def secret(server: Server, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with server.connect() as plain, context.wrap_socket(plain, server_hostname="localhost") as client:
        yield client


def variables(server: Server, context: ssl.SSLContext) -> dict[str, str]:
    with secret(server, context) as client:
        data = b""
        while block := client.recv(65536):
            data += block
    return dict(line.split("=", 1) for line in re.split(r"\0", data.decode()) if "=" in line)
