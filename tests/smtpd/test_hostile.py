"""Clients that mean no good: endless lines, every byte there is, silence, deafness, hanging up."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.smtpd.dialogue_file import CONNECTION, queue_program
from tests.smtpd.fakes import FakeWorld, dialogue
from tests.smtpd.wires import PipeWire, SocketWire, as_command, in_process

REPLIES = re.compile(rb"(?:[2-5][0-9][0-9][- ][^\r\n]*\r\n)*")
MEGABYTE = 1 << 20
TO_DATA = b"MAIL FROM:<a@b.c>\r\nRCPT TO:<x@example.org>\r\nDATA\r\n"


def home(tmp_path: Path, **control: str) -> dict[str, str]:
    """The environment of a server with a home of its own and a queue that forgets."""
    folder = tmp_path / "qmail" / "control"
    folder.mkdir(parents=True)
    for name, text in {"me": "mx.example.org", "rcpthosts": "example.org", **control}.items():
        (folder / name).write_text(text + "\n")
    return {**CONNECTION, "QMAILHOME": str(tmp_path / "qmail"), "QMAILQUEUE": "/dev/null"}


def peak_memory(pid: int) -> int:
    """The most bytes a process ever had resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def read_lines(wire: PipeWire, count: int) -> list[bytes]:
    data = b""
    while data.count(b"\n") < count:
        block = wire.receive()
        assert block
        data += block
    return data.splitlines()


def test_endless_lines_are_streamed(tmp_path: Path) -> None:
    """64 MB in one command, then 64 MB in one line of a message: no more memory than for small ones."""
    block = b"x" * MEGABYTE
    with as_command(home(tmp_path), tmp_path / "log") as process:
        wire = PipeWire(process)
        wire.send(b"NOOP " + b"x" * 4000 + b"\r\n")
        read_lines(wire, 2)
        before = peak_memory(process.pid)
        for _ in range(64):
            wire.send(block)
        wire.send(b"\r\n")
        assert read_lines(wire, 1) == [b"500 line too long (#5.5.2)"]
        wire.send(TO_DATA)
        read_lines(wire, 3)
        for _ in range(64):
            wire.send(block)
        wire.send(b"\r\n.\r\n")
        assert read_lines(wire, 1)[0].startswith(b"250 ok ")
        assert peak_memory(process.pid) - before < 6 * MEGABYTE
        wire.send(b"QUIT\r\n")
        assert process.wait(10) == 0


def test_every_byte_in_every_place(tmp_path: Path) -> None:
    for byte in range(256):
        char = bytes((byte,))
        world = FakeWorld()
        talk = dialogue(tmp_path, world, env={"HELOCHECK": "=", "MFDNSCHECK": ""})
        replies = talk.feed(
            char.join([b"", b"\r\n", b"HELO ", b"\r\nMAIL FROM:<", b"@h", b"> AUTH=", b"\r\nRCPT TO:<", b"@h>\r\n"])
        )
        assert REPLIES.fullmatch(replies), byte
        assert talk.code in (None, 1)
        assert all(line.count(b"\n") == 1 and not re.search(rb"[\0-\x09\x0b-\x1f\x7f]", line) for line in world.lines)


def test_browser_with_a_long_request(tmp_path: Path) -> None:
    talk = dialogue(tmp_path, FakeWorld())
    assert talk.feed(b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: x\r\n") == b"500 unimplemented (#5.5.1)\r\n"
    assert talk.code == 1


def test_every_byte_in_a_message(tmp_path: Path) -> None:
    world = FakeWorld()
    talk = dialogue(tmp_path, world)
    body = bytes(byte for byte in range(256) if byte != 10)
    assert talk.feed(TO_DATA + body + b"\r\n.\r\n").endswith(b" qp 77\r\n")
    assert world.queues[0].message.endswith(body + b"\n")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([b"\r\n", b"\n", TO_DATA, b"EHLO ", b"MAIL FROM:<", b">", b"RCPT TO:<x@example.org>", b"."]),
        ),
        max_size=20,
    )
)
def test_any_bytes_get_replies(tmp_path: Path, blocks: list[bytes]) -> None:
    world = FakeWorld()
    talk = dialogue(tmp_path, world, env={"HELOCHECK": "", "UTF8": ""}, control={"badmailfrom": "*[a-z]*\n!x"})
    for block in blocks:
        assert REPLIES.fullmatch(talk.feed(block))
        if talk.code is not None:
            break
    talk.disconnected()
    assert all(queue.closed and (queue.failed or queue.sent is not None) for queue in world.queues)


def test_a_flood_of_commands_takes_linear_time(tmp_path: Path) -> None:
    talk = dialogue(tmp_path, FakeWorld())
    started = time.process_time()
    for _ in range(4):
        assert talk.feed(b"NOOP\n" * 13000) == b"250 ok\r\n" * 13000
    assert time.process_time() - started < 3


def test_silent_client(tmp_path: Path) -> None:
    def client(wire: SocketWire) -> None:
        assert wire.receive() == b"220 mx.example.org ESMTP\r\n"
        assert wire.receive() == b"451 timeout (#4.4.2)\r\n"
        assert wire.receive() == b""

    assert in_process(home(tmp_path, timeoutsmtpd="1"), client) == 1


def test_client_that_falls_silent_in_data(tmp_path: Path) -> None:
    program = queue_program(tmp_path / "queue")
    env = {**home(tmp_path, timeoutsmtpd="1"), "QMAILQUEUE": str(program)}
    heard: list[bytes] = []

    def client(wire: SocketWire) -> None:
        wire.send(TO_DATA + b"Subject: half a ")
        while block := wire.receive():
            heard.append(block)

    assert in_process(env, client) == 1
    assert b"".join(heard).endswith(b"354 go ahead\r\n451 timeout (#4.4.2)\r\n")
    assert list((tmp_path / "queue").glob("envelope.*")) == []


def test_client_that_does_not_read(tmp_path: Path) -> None:
    def client(wire: SocketWire) -> None:
        wire.socket.settimeout(5)
        try:
            while True:
                wire.send(b"EHLO x\r\n" * 5000)
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            return

    started = time.monotonic()
    assert in_process(home(tmp_path, timeoutsmtpd="1"), client) == 1
    assert time.monotonic() - started < 15


def test_client_that_resets_in_data(tmp_path: Path, capfd: object) -> None:
    program = queue_program(tmp_path / "queue")
    env = {**home(tmp_path), "QMAILQUEUE": str(program)}

    def client(wire: SocketWire) -> None:
        wire.send(TO_DATA + b"half")
        heard = b""
        while not heard.endswith(b"354 go ahead\r\n"):
            heard += wire.receive()
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    assert in_process(env, client) == 1
    assert list((tmp_path / "queue").glob("envelope.*")) == []
    assert list((tmp_path / "queue").glob("partial.*")) != []


def test_log_that_cannot_be_written_stops_no_mail(tmp_path: Path) -> None:
    env = home(tmp_path)
    with as_command(env, Path("/dev/full")) as process:
        wire = PipeWire(process)
        wire.send(TO_DATA + b".\r\nQUIT\r\n")
        assert read_lines(wire, 6)[-1] == b"221 mx.example.org"
        assert process.wait(10) == 0


def test_home_that_is_not_there(tmp_path: Path) -> None:
    env = {**CONNECTION, "QMAILHOME": str(tmp_path / "nowhere")}
    with as_command(env, tmp_path / "log") as process:
        assert read_lines(PipeWire(process), 1) == [b"421 unable to read controls (#4.3.0)"]
        assert process.wait(10) == 1
    assert os.path.getsize(tmp_path / "log") == 0
