"""The model of a file system that loses power, and the reading of traces, on cases small enough to be listed."""

from __future__ import annotations

import pytest

from tests.queue.powercut import Call, Disk, Machine
from tests.queue.strace import deaths, parse


def disks(*calls: Call) -> list[Disk]:
    machine = Machine()
    for call in calls:
        machine.do(call)
    return sorted(machine.disks(), key=repr)


CREATE = Call("create", "d/a", fd=3)
WRITE = Call("write", fd=3, data=b"1234")
SYNC = Call("fsync", fd=3)
OPEN_DIRECTORY = Call("open", "d", fd=4)
SYNC_DIRECTORY = Call("fsync", fd=4)


def test_nothing_is_sure_of_what_was_not_synced() -> None:
    assert disks(CREATE) == [{"d/a": b""}, {}]
    assert {disk.get("d/a") for disk in disks(CREATE, WRITE)} == {None, b"", b"12", b"1234", bytes(4)}


def test_a_file_s_fsync_says_nothing_of_its_name() -> None:
    assert disks(CREATE, WRITE, SYNC) == [{"d/a": b"1234"}, {}]


def test_a_directory_s_fsync_says_nothing_of_the_data() -> None:
    found = disks(CREATE, WRITE, OPEN_DIRECTORY, SYNC_DIRECTORY)
    assert {disk["d/a"] for disk in found} == {b"", b"12", b"1234", bytes(4)}


def test_both_make_it_sure() -> None:
    assert disks(CREATE, WRITE, SYNC, Call("close", fd=3), OPEN_DIRECTORY, SYNC_DIRECTORY) == [{"d/a": b"1234"}]


def test_what_is_written_after_the_fsync_is_not_sure() -> None:
    found = disks(CREATE, OPEN_DIRECTORY, SYNC_DIRECTORY, WRITE, SYNC, Call("write", fd=3, data=b"56"))
    assert {disk["d/a"] for disk in found} == {b"1234", b"12345", b"123456", b"1234\0\0"}


def test_writes_reach_the_disk_in_order() -> None:
    found = disks(CREATE, OPEN_DIRECTORY, SYNC_DIRECTORY, Call("write", fd=3, data=b"a"), Call("write", fd=3, data=b"b"))
    assert b"b" not in {disk["d/a"] for disk in found}


def test_operations_on_a_directory_reach_it_in_any_selection() -> None:
    found = disks(CREATE, Call("link", "d/a", "d/b"), Call("unlink", "d/a"))
    assert found == [{"d/a": b"", "d/b": b""}, {"d/a": b""}, {"d/b": b""}, {}]


def test_a_rename_in_a_directory_is_one_operation() -> None:
    replaced = [OPEN_DIRECTORY, CREATE, WRITE, SYNC, SYNC_DIRECTORY]
    new = [Call("create", "d/b", fd=5), Call("write", fd=5, data=b"new"), Call("fsync", fd=5), Call("rename", "d/b", "d/a")]
    found = disks(*replaced, *new)
    assert {(disk.get("d/a"), disk.get("d/b")) for disk in found} == {(b"1234", None), (b"1234", b"new"), (b"new", None)}


def test_a_rename_between_directories_is_two() -> None:
    found = disks(CREATE, OPEN_DIRECTORY, SYNC_DIRECTORY, Call("rename", "d/a", "e/a"))
    assert {tuple(disk) for disk in found} == {("d/a",), ("e/a",), ("d/a", "e/a"), ()}


def test_a_truncation_is_a_change() -> None:
    found = disks(CREATE, WRITE, SYNC, OPEN_DIRECTORY, SYNC_DIRECTORY, Call("truncate", "d/a"))
    assert {disk["d/a"] for disk in found} == {b"1234", b""}


def test_what_was_there_before_is_sure_until_it_is_changed() -> None:
    machine = Machine()
    machine.found(b"old", "d/a", "e/b")
    assert list(machine.disks()) == [{"d/a": b"old", "e/b": b"old"}]
    machine.do(Call("unlink", "d/a"))
    machine.do(Call("open", "e/b", fd=3))
    machine.do(Call("fsync", fd=3))
    assert sorted(machine.disks(), key=repr) == [{"d/a": b"old", "e/b": b"old"}, {"e/b": b"old"}]


def test_the_running_system_sees_everything() -> None:
    machine = Machine()
    for call in (CREATE, WRITE, Call("link", "d/a", "e/b"), Call("unlink", "d/a")):
        machine.do(call)
    assert machine.now() == {"e/b": b"1234"}
    assert not machine.acknowledged
    machine.do(Call("ack"))
    assert machine.acknowledged


def test_a_trace_that_never_syncs_is_refused() -> None:
    with pytest.raises(AssertionError, match="nothing is ever synced"):
        disks(*[Call("create", f"d{number}/a", fd=3) for number in range(20)])


def hexed(text: str) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'


TRACE = f"""\
openat(AT_FDCWD, {hexed("/etc/passwd")}, O_RDONLY|O_CLOEXEC) = 3
close(3) = 0
chdir({hexed("/home")}) = 0
openat(AT_FDCWD, {hexed("q/pid/1")}, O_WRONLY|O_CREAT|O_EXCL, 0644) = 3
link({hexed("q/pid/1")}, {hexed("/home/./q/mess/1")}) = 0
unlink({hexed("q/pid/1")}) = 0
unlink({hexed("q/pid/2")}) = -1 ENOENT (No such file or directory)
write(3, {hexed("hello")}, 5) = 4
write(1, {hexed("hello")}, 5) = 5
fsync(3)                                = 0
close(3) = 0
openat(AT_FDCWD, {hexed("q/mess")}, O_RDONLY|O_DIRECTORY) = 3
fsync(3) = 0
exit_group(0)                           = ?
+++ exited with 0 +++
"""
CALLS = [
    Call("create", "pid/1", fd=3),
    Call("link", "pid/1", "mess/1"),
    Call("unlink", "pid/1"),
    Call("write", fd=3, data=b"hell"),
    Call("fsync", fd=3),
    Call("close", fd=3),
    Call("open", "mess", fd=3),
    Call("fsync", fd=3),
]


def test_a_trace_is_read() -> None:
    assert parse(TRACE, "/home/q") == [*CALLS, Call("ack")]
    acked = parse(TRACE, "/home/q", lambda name, fd, data: (name, fd, data) == ("write", 1, b"hello"))
    assert acked == [*CALLS[:4], Call("ack"), *CALLS[4:]]


def test_where_a_traced_program_can_die() -> None:
    assert deaths(TRACE, "/home/q") == [
        ("openat", 2), ("link", 1), ("unlink", 1), ("write", 1), ("fsync", 1), ("close", 2), ("openat", 3), ("fsync", 2),
        ("exit_group", 1),
    ]  # fmt: skip
