"""No power cut loses a message that was accepted, and none shows half a message: every prefix of the system-call trace."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qmail.queue import handover
from qmail.queue.client import ServiceQueue
from qmail.queue.names import parse_todo
from qmail.queue.service import answers
from tests.queue import strace
from tests.queue.powercut import Call, Disk, Machine
from tests.support import environment, ours, run, spawn, wait_for


class Lost(AssertionError):
    """A power cut would break the promise."""


def prove(calls: list[Call], text: bytes, recipients: list[bytes], split: int = 23) -> int:
    """Cut the power before and after every call of a trace; returns how many states of the disk were looked at.

    Raises Lost. `text` is the message, which stands in mess after our own fields.
    """
    whole = _final(calls)
    machine = Machine()
    looked_at = 0
    for position in range(len(calls) + 1):
        for disk in machine.disks():
            looked_at += 1
            found = [path for path in disk if path.startswith("todo/")]
            for todo in found:
                _check(disk, todo, whole, text, recipients, split, position)
            if machine.acknowledged and not found:
                raise Lost(f"accepted and lost, before call {position}")
        if position < len(calls):
            machine.do(calls[position])
    assert machine.acknowledged
    return looked_at


def _final(calls: list[Call]) -> Disk:
    machine = Machine()
    for call in calls:
        machine.do(call)
    return machine.now()


def _check(disk: Disk, todo: str, whole: Disk, text: bytes, recipients: list[bytes], split: int, position: int) -> None:
    """A todo entry has its whole envelope and its whole message."""
    number = int(todo.rpartition("/")[2])
    mess = f"mess/{number % split}/{number}"
    if disk[todo] != whole[todo] or parse_todo(disk[todo]).recipients != recipients:
        raise Lost(f"half an envelope, before call {position}")
    if disk.get(mess) != whole[mess] or not disk[mess].endswith(text):
        raise Lost(f"half a message, before call {position}")


MESSAGE = b"Subject: x\n\n" + b"line\n" * 20
ENVELOPE = b"Fa@b.c\0Td@e.f\0Tg@h.i\0\0"
RECIPIENTS = [b"d@e.f", b"g@h.i"]
DIALOGUE = b"EHLO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@example.org>\r\nRCPT TO:<g@example.org>\r\nDATA\r\n%b.\r\nQUIT\r\n"


def queue_trace(home: Path, tmp_path: Path, message: bytes) -> list[Call]:
    """What qmail-queue did."""
    (tmp_path / "envelope").write_bytes(ENVELOPE)
    trace = strace.record(
        tmp_path,
        [ours("qmail-queue")],
        env=environment(QMAILHOME=str(home)),
        input=message,
        script=f'exec "$@" 1<{tmp_path}/envelope',
    )
    return strace.parse(trace, f"{home}/queue")


def inject_trace(home: Path, tmp_path: Path, message: bytes) -> list[Call]:
    """What qmail-inject did, which writes the queue in-process."""
    trace = strace.record(
        tmp_path,
        [ours("qmail-inject"), "-a", *map(os.fsdecode, RECIPIENTS)],
        env=environment(QMAILHOME=str(home)),
        input=message,
    )
    return strace.parse(trace, f"{home}/queue")


def smtpd_trace(home: Path, tmp_path: Path, message: bytes) -> list[Call]:
    """What qmail-smtpd did, which writes the queue in-process and says so with 250."""
    env = environment(QMAILHOME=str(home), PROTO="TCP", TCPREMOTEIP="192.0.2.1", TCPLOCALIP="192.0.2.2", TCPLOCALHOST="l")
    dialogue = DIALOGUE % message.replace(b"\n", b"\r\n")
    trace = strace.record(tmp_path, [ours("qmail-smtpd")], env=env, input=dialogue)
    return strace.parse(trace, f"{home}/queue", lambda name, fd, data: (name, fd) == ("write", 1) and b"250 ok " in data)


def service_trace(home: Path, tmp_path: Path, message: bytes) -> list[Call]:
    """What a worker of qmail-queued did; its ack is the byte it answers."""
    with spawn(strace.traced([ours("qmail-queued")], tmp_path / "service"), env=environment(QMAILHOME=str(home))):
        wait_for(lambda: answers(f"{home}/run/queue.sock"))
        queue = ServiceQueue(handover.connect(f"{home}/run/queue.sock"), {})
        queue.put(message)
        queue.envelope(b"a@b.c", RECIPIENTS)
        assert queue.close() == 0
        trace = wait_for(lambda: _answered(tmp_path))
    return strace.parse(trace, f"{home}/queue", lambda name, fd, data: name == "sendto" and data == b"\0")


def _answered(directory: Path) -> str:
    """The trace of the worker that answered; it may reach the file after the answer reached us."""
    traces = [path.read_text() for path in directory.glob("service.*")]
    return next((trace for trace in traces if "sendto(" in trace and trace.endswith("\n")), "")


Recorder = Callable[[Path, Path, bytes], list[Call]]
RECORDERS = [
    pytest.param(queue_trace, RECIPIENTS, id="qmail-queue"),
    pytest.param(service_trace, RECIPIENTS, id="qmail-queued"),
    pytest.param(inject_trace, RECIPIENTS, id="qmail-inject"),
    pytest.param(smtpd_trace, [b"d@example.org", b"g@example.org"], id="qmail-smtpd"),
]


@pytest.mark.parametrize(("recorder", "recipients"), RECORDERS)
def test_every_prefix_of_the_trace(home: Path, tmp_path: Path, recorder: Recorder, recipients: list[bytes]) -> None:
    calls = recorder(home, tmp_path, MESSAGE)
    assert prove(calls, MESSAGE, recipients) > 2 * len(calls)
    assert [call.name for call in calls].count("fsync") == 4
    (todo,) = home.glob("queue/todo/*/*")
    assert f"todo/{todo.parent.name}/{todo.name}" in _final(calls)


@pytest.mark.parametrize(("recorder", "recipients"), RECORDERS)
def test_a_message_of_many_writes(home: Path, tmp_path: Path, recorder: Recorder, recipients: list[bytes]) -> None:
    message = MESSAGE + b"".join(b"%040d\n" % number for number in range(12_000))
    calls = recorder(home, tmp_path, message)
    assert [call.name for call in calls].count("write") >= 4
    prove(calls, message, recipients)


@pytest.mark.parametrize(("envelope", "code"), [(ENVELOPE[:-1], 54), (b"Fa\0x\0", 91), (b"F" + b"a" * 1003 + b"\0", 11)])
def test_a_message_refused_is_never_in_todo(home: Path, tmp_path: Path, envelope: bytes, code: int) -> None:
    (tmp_path / "envelope").write_bytes(envelope)
    line = strace.traced([ours("qmail-queue")], tmp_path / "trace")
    script = ["/bin/sh", "-c", f'exec "$@" 1<{tmp_path}/envelope', "sh", *line]
    assert run(script, env=environment(QMAILHOME=str(home)), input=MESSAGE).returncode == code
    (trace,) = tmp_path.glob("trace.*")
    calls = strace.parse(trace.read_text(), f"{home}/queue")
    assert {call.name for call in calls} >= {"create", "truncate", "unlink"}
    machine = Machine()
    for call in calls:
        machine.do(call)
        assert not any(path.startswith("todo/") for disk in machine.disks() for path in disk)
    assert machine.now() == {}
    assert not machine.acknowledged


def test_the_proof_fails_without_any_one_fsync(home: Path, tmp_path: Path) -> None:
    """The proof proves something: each of the four fsyncs is needed."""
    calls = queue_trace(home, tmp_path, MESSAGE)
    syncs = [position for position, call in enumerate(calls) if call.name == "fsync"]
    assert len(syncs) == 4
    for position in syncs:
        with pytest.raises(Lost):
            prove(calls[:position] + calls[position + 1 :], MESSAGE, RECIPIENTS)


def test_the_proof_fails_for_another_order(home: Path, tmp_path: Path) -> None:
    calls = queue_trace(home, tmp_path, MESSAGE)
    ack = next(position for position, call in enumerate(calls) if call.name == "ack")
    link = max(position for position, call in enumerate(calls) if call.name == "link")
    last_sync = max(position for position, call in enumerate(calls) if call.name == "fsync")
    with pytest.raises(Lost, match="accepted and lost"):
        prove([*calls[:last_sync], calls[ack], *calls[last_sync:ack]], MESSAGE, RECIPIENTS)
    created = next(p for p, call in enumerate(calls) if call.name == "create" and call.path.startswith("intd/"))
    early = [*calls[: created + 1], calls[link], *calls[created + 1 : link], *calls[link + 1 :]]
    with pytest.raises(Lost, match="half an envelope"):
        prove(early, MESSAGE, RECIPIENTS)
