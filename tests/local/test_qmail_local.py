"""qmail-local from its arguments to its exit code: checks and their order, instructions, reports."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from qmail.local import instructions, message, program
from qmail.local.deliver import check_loop
from qmail.local.delivery import Delivery
from qmail.local.message import Message
from qserver.base.errors import Die
from tests.local.conftest import MESSAGE, Person
from tests.support import BIN, ROOT, ours, run

USAGE = b"qmail-local: usage: qmail-local [ -nN ] user homedir local dash ext domain sender aliasempty\n"
NO_MAILBOX = b"Sorry, no mailbox here by that name. (#5.1.1)\n"
LOOP = b"This message is looping: it already has my Delivered-To line. (#5.4.6)\n"
Done = subprocess.CompletedProcess[bytes]


def result(done: Done) -> tuple[int, bytes, bytes]:
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], b""),
        (["joe", "/", "joe", "", "", "h", "s"], b""),
        (["joe", "/", "joe", "", "", "h", "s", "#", "more"], b""),
        (["joe", "home/joe", "joe", "", "", "h", "s", "#"], b""),
        (["joe", "", "joe", "", "", "h", "s", "#"], b""),
        (["-x", "joe", "/", "joe", "", "", "h", "s", "#"], b"qmail-local: illegal option -- x\n"),
    ],
)
def test_usage(words: list[str], complaint: bytes) -> None:
    assert result(run([ours("qmail-local"), *words])) == (100, b"", complaint + USAGE)


def test_no_home(joe: Person) -> None:
    joe.home.rmdir()
    text = f"Unable to switch to {joe.home}: file does not exist. (#4.3.0)\n".encode()
    assert result(joe.deliver()) == (111, b"", text)


@pytest.mark.parametrize("option", ["-n", "-N"])
def test_writable_home(joe: Person, option: str) -> None:
    joe.home.chmod(0o757)
    assert result(joe.deliver(option)) == (111, b"", b"Uh-oh: home directory is writable. (#4.7.0)\n")


def test_group_writable_home_is_a_matter_of_conf_patrn(joe: Person) -> None:
    joe.home.chmod(0o775)
    assert joe.deliver().returncode == 0
    (joe.qmail / "conf").mkdir()
    (joe.qmail / "conf/conf-patrn").write_text("022\n")
    assert result(joe.deliver()) == (111, b"", b"Uh-oh: home directory is writable. (#4.7.0)\n")
    (joe.qmail / "conf/conf-patrn").write_text("what\n")
    assert joe.deliver().returncode == 0


def test_sticky_home(joe: Person) -> None:
    joe.home.chmod(0o1755)
    text = b"Home directory is sticky: user is editing his .qmail file. (#4.2.1)\n"
    assert result(joe.deliver()) == (111, b"", text)
    assert result(joe.deliver("-n")) == (0, b"did 0+0+0\n", b"Warning: home directory is sticky.\n")


def test_home_that_cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(path: str) -> os.stat_result:
        raise OSError(5, "")

    monkeypatch.setattr("qmail.local.instructions.os.stat", stat)
    with pytest.raises(Die) as caught:
        instructions.check_home(0o002, True)
    monkeypatch.undo()
    assert (caught.value.text, caught.value.code) == ("Unable to stat home directory: input/output error. (#4.3.0)", 111)


@pytest.mark.parametrize(
    ("data", "loops"),
    [
        (b"Delivered-To: joe@example.org\n\nx", True),
        (b"A: b\nDelivered-To: joe@example.org\nC: d\n\nx", True),
        (b"A: b\nDelivered-To: joe@example.org\n", True),
        (b"A: b\nDelivered-To: joe@example.org", False),
        (b"A: b\n\nDelivered-To: joe@example.org\n", False),
        (b"\nDelivered-To: joe@example.org\n", False),
        (b"A: b\ndelivered-to: joe@example.org\n\n", False),
        (b"X-Delivered-To: joe@example.org\n\n", False),
        (b"Delivered-To: joe@example.org.uk\n\n", False),
        (b"Delivered-To: Joe@example.org\n\n", False),
        (b"", False),
    ],
)
def test_loop(joe: Person, data: bytes, loops: bool) -> None:
    expected = (100, b"", LOOP) if loops else (0, b"did 0+0+0\n", b"")
    assert result(joe.deliver(message=data)) == expected
    assert joe.deliver("-n").returncode == 0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_loop_line_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(message, "BLOCK", size)
    line = b"Delivered-To: joe@h\n"
    for data, found in ((b"A: b\n" * 9 + line, True), (b"A: b\n" * 9 + b"\n" + line, False), (b"\n" + line, False)):
        (tmp_path / "m").write_bytes(data)
        fd = os.open(tmp_path / "m", os.O_RDONLY)
        assert message.header_has(Message(fd), line) is found
        os.close(fd)


def test_unreadable_message() -> None:
    fd = os.open("/", os.O_RDONLY)
    try:
        with pytest.raises(Die) as caught:
            check_loop(Delivery(b"joe", b"/", b"joe", b"", b"", b"h", b"s", b"#"), Message(fd))
    finally:
        os.close(fd)
    assert (caught.value.text, caught.value.code) == ("Unable to read message: is a directory. (#4.3.0)", 111)


def test_message_that_is_a_pipe(joe: Person) -> None:
    assert result(run(joe.argv(), env=joe.env(), input=b"x")) == (111, b"", b"Unable to rewind message. (#4.3.0)\n")


def test_no_memory(joe: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    from qmail.commands import qmail_local

    def out(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(qmail_local, "deliver", out)
    monkeypatch.setattr("qmail.commands.qmail_local.os.umask", lambda mask: mask)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)}
    try:
        with pytest.raises(Die) as caught:
            qmail_local.main(joe.argv(), joe.env())
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert (caught.value.text, caught.value.code) == ("Out of memory. (#4.3.0)", 111)


SHOW = '|echo "${DEFAULT-unset}"'


@pytest.mark.parametrize(
    ("files", "ext", "said"),
    [
        ([".qmail-a-b-c", ".qmail-a-b-default", ".qmail-default"], "a-b-c", b".qmail-a-b-c unset"),
        ([".qmail-a-b-default", ".qmail-default"], "a-b-c", b".qmail-a-b-default c"),
        ([".qmail-a-default", ".qmail-default"], "a-B-C", b".qmail-a-default B-C"),
        ([".qmail-default"], "a-b-c", b".qmail-default a-b-c"),
        ([".qmail-default"], "Default", b".qmail-default Default"),
        ([".qmail-x:y"], "X.Y", b".qmail-x:y unset"),
        ([".qmail-a-"], "a-", b".qmail-a- unset"),
        ([".qmail-default"], "", b".qmail-default "),
    ],
)
def test_which_file(joe: Person, files: list[str], ext: str, said: bytes) -> None:
    for name in files:
        joe.dot(f'|echo "{name} ${{DEFAULT-unset}}"\n', name)
    assert result(joe.deliver(dash="-", ext=ext)) == (0, said + b"\ndid 0+0+1\n", b"")


def test_an_inherited_default_is_left_alone(joe: Person) -> None:
    joe.dot(SHOW)
    assert joe.deliver(env={"DEFAULT": "old"}).stdout == b"old\ndid 0+0+1\n"


def test_no_mailbox(joe: Person) -> None:
    joe.dot("#\n", ".qmail-b")
    assert result(joe.deliver(dash="-", ext="a")) == (100, b"", NO_MAILBOX)


def test_no_file_and_no_dash_is_the_default_delivery(joe: Person) -> None:
    joe.maildir()
    assert result(joe.deliver(default="./Maildir/\n|echo x")) == (0, b"x\ndid 1+0+1\n", b"")


def test_an_empty_file_is_the_default_delivery(joe: Person) -> None:
    joe.dot("", ".qmail-a", 0o744)
    assert result(joe.deliver(dash="-", ext="a", default="|echo x")) == (0, b"x\ndid 0+0+1\n", b"")


def test_qmaildefault(joe: Person) -> None:
    joe.dot("|echo x", ".qmaildefault")
    assert result(joe.deliver(default="#")) == (0, b"x\ndid 0+0+1\n", b"")


def test_what_is_not_a_file_is_not_found(joe: Person) -> None:
    (joe.home / ".qmail-a").mkdir()
    os.mkfifo(joe.home / ".qmail-a-default")
    os.symlink("nowhere", joe.home / ".qmail-b")
    joe.dot("|echo default", ".qmail-default")
    for ext in ("a", "a-x", "b", "x" * 300, "a/b"):
        assert result(joe.deliver(dash="-", ext=ext)) == (0, b"default\ndid 0+0+1\n", b"")


def test_writable_file(joe: Person) -> None:
    joe.dot("#\n", mode=0o646)
    assert result(joe.deliver()) == (111, b"", b"Uh-oh: .qmail file is writable. (#4.7.0)\n")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (13, "Unable to open .qmail: access denied. (#4.3.0)"),
        (1, "Unable to open .qmail: permission denied. (#4.3.0)"),
        (116, "Unable to open .qmail: stale file handle. (#4.3.0)"),
        (5, "Unable to open .qmail: input/output error. (#4.3.0)"),
        (2, None),
        (40, None),
        (36, None),
    ],
)
def test_a_file_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch, number: int, text: str | None) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, "")

    monkeypatch.setattr("qmail.local.instructions.os.open", refuse)
    delivery = Delivery(b"joe", b"/", b"joe", b"", b"", b"h", b"s", b"#default")
    if text is None:
        assert instructions.find(delivery, 0o002).data == b"#default"
        return
    with pytest.raises(Die) as caught:
        instructions.find(delivery, 0o002)
    assert (caught.value.text, caught.value.code) == (text, 111)


@pytest.mark.parametrize("text", ["\n#x\n", " \t\n", "\n"])
def test_blank_first_line(joe: Person, text: str) -> None:
    joe.dot(text)
    assert result(joe.deliver()) == (111, b"", b"Uh-oh: first line of .qmail file is blank. (#4.2.1)\n")


def test_blank_lines_elsewhere(joe: Person) -> None:
    joe.dot("#\n\n \t\n|echo x\n\n")
    assert result(joe.deliver()) == (0, b"x\ndid 0+0+1\n", b"")


FILE_REFUSED = b"Uh-oh: .qmail has file delivery but has x bit set. (#4.7.0)\n"
PROG_REFUSED = b"Uh-oh: .qmail has prog delivery but has x bit set. (#4.7.0)\n"


@pytest.mark.parametrize(
    ("text", "mode", "said", "complaint"),
    [
        ("./Maildir/\n", 0o744, b"", FILE_REFUSED),
        ("/x\n", 0o744, b"", FILE_REFUSED),
        ("|echo x\n", 0o744, b"", PROG_REFUSED),
        ("|echo x\n+list\n|echo y\n", 0o644, b"x\n", PROG_REFUSED),
        ("+list\n&a@b\n./mbox\n", 0o644, b"", FILE_REFUSED),
    ],
)
def test_forward_only(joe: Person, text: str, mode: int, said: bytes, complaint: bytes) -> None:
    joe.dot(text, mode=mode)
    assert result(joe.deliver(env={"QMAILQUEUE": "/dev/null"})) == (111, said, complaint)


def test_others_execute_bits_do_not_matter(joe: Person) -> None:
    joe.dot("|echo x\n", mode=0o655)
    assert result(joe.deliver()) == (0, b"x\ndid 0+0+1\n", b"")


EVERYTHING = "# c\n./Maildir/ \n/var/mail/joe\n| cat  \n&a@b\n\nq r\n+other\n+list\n&\n"


def test_only_print(joe: Person) -> None:
    joe.dot(EVERYTHING)
    expected = b"maildir ./Maildir/\nmbox /var/mail/joe\nprogram  cat\nforward a@b\nforward q r\nforward \ndid 2+3+1\n"
    assert result(run(joe.argv("-n"), env=joe.env(), input=None)) == (0, expected, b"")
    assert result(joe.deliver("-Nn")) == (0, expected, b"")
    assert sorted(os.listdir(joe.home)) == [".qmail"]
    joe.dot("./a\n+list\n./b\n")
    assert result(joe.deliver("-n")) == (111, b"mbox ./a\n", FILE_REFUSED)
    assert result(joe.deliver("-n", dash="-", ext="a")) == (100, b"", NO_MAILBOX)


def test_what_was_done_stays_done(joe: Person) -> None:
    joe.dot("./mbox\n|exit 111\n./other\n")
    assert result(joe.deliver()) == (111, b"", b"")
    assert sorted(os.listdir(joe.home)) == [".qmail", "mbox"]


@pytest.mark.parametrize("code", range(256))
def test_program_exit_codes(joe: Person, code: int) -> None:
    fd = os.open(joe.message, os.O_RDONLY)
    try:
        if code in (0, 99):
            assert program.deliver(b"exit %d" % code, Message(fd), {}) is (code == 99)
            return
        with pytest.raises(Die) as caught:
            program.deliver(b"exit %d" % code, Message(fd), {})
    finally:
        os.close(fd)
    assert caught.value.text == ""
    assert caught.value.code == (100 if code in (100, 64, 65, 70, 76, 77, 78, 112) else 111)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cat", (0, MESSAGE + b"did 0+0+2\n", b"")),
        ("read x; echo $x; echo oops >&2", (0, b"Received: by x\n" * 2 + b"did 0+0+2\n", b"oops\n" * 2)),
        ("exit 99", (0, b"did 0+0+1\n", b"")),
        ("exit 100", (100, b"", b"")),
        ("exit 111", (111, b"", b"")),
        ("kill -9 $$", (111, b"", b"Aack, child crashed. (#4.3.0)\n")),
        ("pwd", (0, None, b"")),
        ("ulimit -c 0; kill -13 $$", (111, b"", b"Aack, child crashed. (#4.3.0)\n")),
        ("no-such-command-at-all 2>/dev/null", (111, b"", b"")),
    ],
)
def test_programs(joe: Person, command: str, expected: tuple[int, bytes | None, bytes]) -> None:
    joe.dot(f"|{command}\n|{command} \n")
    code, said, complained = expected
    if command == "cat":
        said = MESSAGE * 2 + b"did 0+0+2\n"
    if command == "pwd":
        said = os.fsencode(joe.home) + b"\n" + os.fsencode(joe.home) + b"\ndid 0+0+2\n"
    assert result(joe.deliver()) == (code, said, complained)


def test_a_program_has_default_signals_and_three_descriptors(joe: Person) -> None:
    signals = "sed -n 's/^Sig[BI][lg][kn]:.*\\(.\\{7\\}\\)$/\\1/p' /proc/self/status"  # not glibc's own two
    probe = f"{signals}; ls /proc/$$/fd; umask"
    joe.dot(f"|{probe}\n")
    plain = subprocess.run(
        ["/bin/sh", "-c", "umask 077; " + probe], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=True
    )
    assert joe.deliver().stdout == plain.stdout + b"did 0+0+1\n"


def test_a_program_that_cannot_be_started(joe: Person) -> None:
    huge = {f"V{number}": "x" * 100_000 for number in range(40)}
    fd = os.open(joe.message, os.O_RDONLY)
    try:
        with pytest.raises(Die) as caught:
            program.deliver(b"true", Message(fd), huge)
    finally:
        os.close(fd)
    assert (caught.value.text, caught.value.code) == ("Unable to run /bin/sh: argument list too long. (#4.3.0)", 111)


def test_no_process_to_be_had(joe: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(11, "")

    monkeypatch.setattr("qmail.local.program.chain.spawn", refuse)
    fd = os.open(joe.message, os.O_RDONLY)
    try:
        with pytest.raises(Die) as caught:
            program.deliver(b"true", Message(fd), {})
    finally:
        os.close(fd)
    assert (caught.value.text, caught.value.code) == ("Unable to fork: temporary failure. (#4.3.0)", 111)


def test_environment_of_a_program(joe: Person) -> None:
    names = ("HOST", "USER", "LOCAL", "SENDER", "RECIPIENT", "EXT", "EXT2", "EXT3", "EXT4", "DEFAULT", "NEWSENDER", "KEPT")
    joe.dot("|printf '%s\\n' " + " ".join(f'"${name}"' for name in names), ".qmail-a-default")
    done = joe.deliver(dash="-", ext="a-B-c", sender="S q@x.org", env={"KEPT": "kept", "USER": "root"})
    expected = [
        "example.org", "joe", "joe-a-B-c", "S q@x.org", "joe-a-B-c@example.org", "a-B-c", "B-c", "c", "",
        "B-c", "S q@x.org", "kept", "did 0+0+1",
    ]  # fmt: skip
    assert done.stdout.decode().split("\n")[:-1] == expected


def test_the_reader_of_the_report_may_be_gone(joe: Person) -> None:
    r, w = os.pipe()
    os.close(r)
    with joe.message.open("rb") as file:
        done = subprocess.run(joe.argv(), env=joe.env(), stdin=file, stdout=w, stderr=w, timeout=20, check=False)
    os.close(w)
    assert done.returncode == 0


def test_in_a_forked_child_nothing_of_the_parent_changes(joe: Person) -> None:
    """As qmail-lspawn calls it: main in a child with the message on 0 and the report on 1 and 2."""
    joe.dot("./mbox\n|echo out; echo err >&2\n")
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        from qmail.commands.qmail_local import main

        os.dup2(os.open(joe.message, os.O_RDONLY), 0)
        os.dup2(w, 1)
        os.dup2(w, 2)
        os._exit(main(joe.argv(), {**joe.env()}))
    os.close(w)
    with open(r, "rb") as report:
        assert report.read() == b"out\nerr\ndid 1+0+1\n"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (joe.home / "mbox").stat().st_size > len(MESSAGE)


@pytest.mark.parametrize("name", ["qmail_local", "qmail_getpw", "qmail_newu", "maildirmake", "forward"])
def test_imports_nothing_heavy(name: str) -> None:
    from tests.test_import_budget import PROBE, TABOO

    done = run([str(BIN / "python"), "-IS", "-c", PROBE.format(root=str(ROOT), module=f"qmail.commands.{name}")])
    assert done.returncode == 0, done.stderr
    found = set(done.stdout.decode().split())
    assert not TABOO & found
    assert name == "forward" or "qmail.queue.client" not in found
