"""qmail-pop3d's dialogues, in this process and as a command, one command at a time and pipelined."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qmail.commands import qmail_pop3d
from qserver.net.connection import Connection
from tests.pop3d.dialogue import Case
from tests.support import ours, spawn

DIALOGUES = sorted((Path(__file__).parent / "dialogues").glob("*.pop3"))
Server = Callable[[Path], object]


def hang_up(client: socket.socket) -> None:
    """Close for good, also where a reader made of the socket is still about."""
    try:
        client.shutdown(socket.SHUT_RDWR)
    except OSError:  # the other end did so before
        pass
    client.close()


@contextmanager
def in_process(maildir: Path | None) -> Iterator[socket.socket]:
    """The client's end of a socketpair whose other end `serve` works on, in a thread."""
    client, server = socket.socketpair()
    client.settimeout(10)
    argv = ["qmail-pop3d"] + ([str(maildir)] if maildir is not None else [])
    codes: list[int] = []

    def work() -> None:
        codes.append(qmail_pop3d.serve(argv, {}, Connection.from_socket(server.fileno())))
        server.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield client
    finally:
        hang_up(client)
        thread.join(10)
    assert codes == [0]


@contextmanager
def as_command(maildir: Path | None) -> Iterator[socket.socket]:
    """The client's end of a socketpair whose other end is descriptors 0 and 1 of qmail-pop3d."""
    client, server = socket.socketpair()
    client.settimeout(10)
    argv = [ours("qmail-pop3d")] + (["Maildir"] if maildir is not None else [])
    cwd = maildir.parent if maildir is not None else None
    with spawn(argv, cwd=cwd, stdin=server.fileno(), stdout=server.fileno()) as process, client:
        server.close()
        yield client
        hang_up(client)
        assert process.wait(10) == 0
        assert process.stderr is not None and process.stderr.read() == b""


@pytest.mark.parametrize("pipelined", [False, True], ids=["stepwise", "pipelined"])
@pytest.mark.parametrize("server", [in_process, as_command])
@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
def test_dialogue(path: Path, server: Server, pipelined: bool, tmp_path: Path) -> None:
    case = Case(path)
    maildir = tmp_path / "Maildir"
    case.make_maildir(maildir)
    with server(maildir) as client:  # type: ignore[attr-defined]
        case.play(client, pipelined=pipelined)
    case.check_maildir(maildir)


def test_there_are_dialogues() -> None:
    assert len(DIALOGUES) >= 8


@pytest.mark.parametrize("server", [in_process, as_command])
def test_without_argument(server: Server) -> None:
    with server(None) as client:  # type: ignore[attr-defined,arg-type]
        assert client.makefile("rb").read() == b"-ERR this user has no $HOME/Maildir\r\n"


def test_missing_maildir(tmp_path: Path) -> None:
    with in_process(tmp_path / "nowhere") as client:
        assert client.makefile("rb").read() == b"-ERR this user has no $HOME/Maildir\r\n"


@pytest.mark.parametrize("missing", ["new", "cur"])
def test_missing_folder(missing: str, tmp_path: Path) -> None:
    for folder in {"new", "cur"} - {missing}:
        (tmp_path / folder).mkdir()
    with in_process(tmp_path) as client:
        assert client.makefile("rb").read() == b"-ERR unable to scan $HOME/Maildir\r\n"
