"""setuidgid and envuidgid beside Debian's."""

from __future__ import annotations

import os

import pytest

from tests.commands.test_envdir import BOTH, program
from tests.support import environment, ours, peer, run


@pytest.mark.parametrize("name", ["setuidgid", "envuidgid"])
@pytest.mark.parametrize("arguments", [[], ["root"], ["no-such-account"]])
@pytest.mark.parametrize("who", BOTH)
def test_wrong_calls(who: str, name: str, arguments: list[str]) -> None:
    synopsis = {"setuidgid": b"setuidgid [-s] account child", "envuidgid": b"envuidgid account child"}[name]
    if who == "theirs":
        synopsis = synopsis.replace(b"[-s] ", b"")
    done = run([program(who, name), *arguments])
    assert (done.returncode, done.stderr) == (100, name.encode() + b": usage: " + synopsis + b"\n")


@pytest.mark.parametrize("name", ["setuidgid", "envuidgid"])
@pytest.mark.parametrize("account", ["no-such-account", "0", "", "ro ot"])
@pytest.mark.parametrize("who", BOTH)
def test_only_accounts_are_known(who: str, name: str, account: str) -> None:
    done = run([program(who, name), account, "no-such"])
    assert (done.returncode, done.stderr) == (111, f"{name}: fatal: unknown account {account}\n".encode())


@pytest.mark.parametrize("who", BOTH)
def test_envuidgid_sets_two_variables(who: str) -> None:
    done = run([program(who, "envuidgid"), "nobody", "sh", "-c", "echo $UID $GID $A; id -u"], env=environment(UID="x", A="a"))
    import pwd

    nobody = pwd.getpwnam("nobody")
    assert done.stdout == b"%d %d a\n%d\n" % (nobody.pw_uid, nobody.pw_gid, os.geteuid())


@pytest.mark.parametrize("who", BOTH)
def test_envuidgid_has_no_options(who: str) -> None:
    done = run([program(who, "envuidgid"), "-s", "root", "true"])
    assert (done.returncode, done.stderr) == (111, b"envuidgid: fatal: unknown account -s\n")


@pytest.mark.parametrize("name", ["setuidgid", "envuidgid"])
@pytest.mark.root
def test_what_cannot_run(name: str) -> None:
    for who in BOTH:
        done = run([program(who, name), "root", "/no/such"])
        assert (done.returncode, done.stderr) == (111, f"{name}: fatal: unable to run /no/such: file does not exist\n".encode())


IDENTITY = "grep -E '^(Uid|Gid|Groups)' /proc/self/status; env"


@pytest.mark.root
@pytest.mark.parametrize("account", ["nobody", "daemon", "root"])
def test_setuidgid_takes_the_identity_and_leaves_the_environment(account: str) -> None:
    outputs = [run([program(who, "setuidgid"), account, "/bin/sh", "-c", IDENTITY]).stdout for who in BOTH]
    assert outputs[0] == outputs[1]
    assert outputs[1]


@pytest.mark.root
def test_setuidgid_with_every_group() -> None:
    import grp
    import pwd

    for entry in pwd.getpwall():
        groups = {group.gr_gid for group in grp.getgrall() if entry.pw_name in group.gr_mem} | {entry.pw_gid}
        if len(groups) > 1 or entry.pw_name == "nobody":
            done = run([ours("setuidgid"), "-s", entry.pw_name, "/bin/grep", "^Groups", "/proc/self/status"])
            assert {int(number) for number in done.stdout.split()[1:]} == groups


def test_setuidgid_needs_the_right_to_change_even_into_oneself() -> None:
    if os.geteuid() == 0:
        words = [peer("setuidgid"), "nobody", peer("setuidgid"), "nobody", "true"]
        assert run(words).stderr == b"setuidgid: fatal: unable to setgid: permission denied\n"
        return
    import pwd

    done = run([ours("setuidgid"), pwd.getpwuid(os.geteuid()).pw_name, "true"])
    assert (done.returncode, done.stderr) == (111, b"setuidgid: fatal: unable to setgid: permission denied\n")


@pytest.mark.root
def test_setuidgid_as_another_account_in_the_same_process() -> None:
    done = run([ours("setuidgid"), "nobody", "setuidgid", "nobody", "true"])
    assert (done.returncode, done.stderr) == (111, b"setuidgid: fatal: unable to setgid: permission denied\n")
    done = run([ours("setuidgid"), "nobody", "setuidgid", "-s", "nobody", "true"])
    assert (done.returncode, done.stderr) == (111, b"setuidgid: fatal: unable to initgroups: permission denied\n")
