"""qmail-authuser as a command: descriptor 3 in, exit code or program out (access 4)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import environment, ours, run

USERS = """# local users
joe:secret
Ann@Example.ORG:%5ebe2294ecd0e0f08eab7690d2a6ee69
bob:%e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4
eve:%2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
upper:%5EBE2294ECD0E0F08EAB7690D2A6EE69
short:%5ebe
percent:%abc
equals:=secret
colons:a:b c:
blanks:  two  words\x20\x20
empty:
one:z
twice:first
twice:second
 leading:blank
dollar:$9$x
braces:{NOSUCH}x
plain:{PLAIN}secret
!spammer@example.org:
!nocolon@example.org
!@closed.example
someone@closed.example:secret
spammer@example.org:secret
nocolon@example.org:secret
@vmail.example:domainword
exact@vmail.example:exactword
@:anydomain
*:anyone
"""
SPEC_CHALLENGE = "<1.2@h>"


@pytest.fixture
def authuser(tmp_path: Path) -> Path:
    """A home with users/authuser."""
    (tmp_path / "users").mkdir()
    (tmp_path / "users/authuser").write_text(USERS)
    return tmp_path


def check(
    home: Path, data: bytes | None, *words: str, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Run qmail-authuser WORDS with `data` on descriptor 3 (None: closed)."""
    given = home / "fd3"
    given.write_bytes(data or b"")
    source = '3<"$DATA"' if data is not None else "3<&-"
    return run(
        ["/bin/sh", "-c", f'exec "$0" "$@" {source}', ours("qmail-authuser"), *words],
        env=environment(QMAILHOME=str(home), DATA=str(given), **env),
        cwd=cwd,
    )


def login(name: str, response: str, challenge: str | None = None) -> bytes:
    """The bytes of descriptor 3."""
    return "\0".join([name, response, *([] if challenge is None else [challenge]), ""]).encode()


VERDICTS = [
    ("joe", "secret", None, 0),
    ("JOE", "secret", None, 0),
    ("joe", "Secret", None, 1),
    ("joe", "", None, 1),
    ("ann@example.org", "secret", None, 0),
    ("ANN@EXAMPLE.org", "secret", None, 0),
    ("ann@example.org", "5ebe2294ecd0e0f08eab7690d2a6ee69", None, 1),
    ("ann@example.org", "%5ebe2294ecd0e0f08eab7690d2a6ee69", None, 1),
    ("bob", "secret", None, 0),
    ("eve", "secret", None, 0),
    ("upper", "secret", None, 1),
    ("upper", "%5EBE2294ECD0E0F08EAB7690D2A6EE69", None, 0),
    ("short", "%5ebe", None, 0),
    ("percent", "%abc", None, 0),
    ("equals", "=secret", None, 0),
    ("equals", "secret", None, 1),
    ("colons", "a:b c:", None, 0),
    ("blanks", "  two  words", None, 0),
    ("blanks", "two  words", None, 1),
    ("empty", "", None, 1),
    ("one", "z", None, 2),
    ("twice", "first", None, 1),
    ("twice", "second", None, 0),
    (" leading", "blank", None, 0),
    ("leading", "blank", None, 1),
    ("dollar", "$9$x", None, 0),
    ("braces", "{NOSUCH}x", None, 0),
    ("plain", "secret", None, 0),
    ("plain", "{PLAIN}secret", None, 1),
    ("spammer@example.org", "secret", None, 1),
    ("nocolon@example.org", "secret", None, 1),
    ("someone@closed.example", "secret", None, 1),
    ("x@vmail.example", "domainword", None, 0),
    ("exact@vmail.example", "exactword", None, 0),
    ("exact@vmail.example", "domainword", None, 1),
    ("a@b@VMAIL.example", "domainword", None, 0),
    ("x@other.example", "anydomain", None, 0),
    ("x@other.example", "anyone", None, 1),
    ("nobody-known", "anydomain", None, 0),
    ("nobody-known", "anyone", None, 1),
    ("# local users", "", None, 1),
    ("joe:secret", "", None, 1),
    # the digests of access 4.3: CRAM-MD5 and APOP of "secret" under <1.2@h>
    ("joe", "63ba8d17b4d0e94c82d3f0557ed5f6b1", SPEC_CHALLENGE, 0),
    ("joe", "c348ebb16b71cc519fd7c6e61d63a669", SPEC_CHALLENGE, 0),
    ("joe", "C348EBB16B71CC519FD7C6E61D63A669", SPEC_CHALLENGE, 1),
    ("joe", "secret", SPEC_CHALLENGE, 0),
    ("joe", "63ba8d17b4d0e94c82d3f0557ed5f6b1", "", 1),
    ("joe", "63ba8d17b4d0e94c82d3f0557ed5f6b1", None, 1),
    ("ann@example.org", "63ba8d17b4d0e94c82d3f0557ed5f6b1", SPEC_CHALLENGE, 1),
]


@pytest.mark.parametrize(("name", "response", "challenge", "code"), VERDICTS)
def test_verdict(authuser: Path, name: str, response: str, challenge: str | None, code: int) -> None:
    result = check(authuser, login(name, response, challenge), "true")
    assert (result.returncode, result.stdout, result.stderr) == (code, b"", b"")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", 2),
        (b"joe", 2),
        (b"joe\0", 2),
        (b"joe\0secret", 2),
        (b"joe\0secret\0", 0),
        (b"joe\0secret\0open challenge", 0),
        (b"joe\0secret\0c\0trailing\0rubbish", 0),
        (b"joe\0secret\0" + b"c" * 500 + b"\0", 0),
        (b"joe\0secret\0" + b"c" * 501 + b"\0", 2),
        (b"joe\0secret\0" + b"c" * 100_000 + b"\0", 2),
        (None, 111),
    ],
)
def test_input(authuser: Path, data: bytes | None, code: int) -> None:
    assert check(authuser, data, "true").returncode == code


def test_no_program_comes_first(authuser: Path) -> None:
    assert check(authuser, None).returncode == 2
    assert check(authuser, None, "-z", "true").returncode == 2


def test_without_any_file_everybody_is_rejected(tmp_path: Path) -> None:
    assert check(tmp_path, login("joe", "secret"), "true").returncode == 1


def test_control_authuser_is_the_second_choice(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "control/authuser").write_text("joe:secret")
    assert check(tmp_path, login("joe", "secret"), "true").returncode == 0


def test_star_is_asked_last(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users/authuser").write_text("*:anyone\n@h.example:word\n")
    assert check(tmp_path, login("who@ever", "anyone"), "true").returncode == 0
    assert check(tmp_path, login("who@h.example", "anyone"), "true").returncode == 1


def test_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "users/authuser").mkdir(parents=True)
    assert check(tmp_path, login("joe", "secret"), "true").returncode == 111


@pytest.mark.parametrize(
    "words",
    [
        ["true", "/bin/echo", "a", "b"],
        ["/bin/true", "/bin/echo", "a", "b"],
        ["/bin/echo", "a", "b", "true"],
        ["/bin/echo", "a", "b"],
    ],
)
def test_additional_true(authuser: Path, words: list[str]) -> None:
    result = check(authuser, login("joe", "secret"), *words)
    assert (result.returncode, result.stdout) == (0, b"a b\n")


def test_program_gets_no_credentials_and_its_own_exit_code(authuser: Path) -> None:
    script = "cat <&3 2>/dev/null; echo ${USER-none}; exit 7"
    result = check(authuser, login("joe", "secret"), "sh", "-c", script)
    assert (result.returncode, result.stdout) == (7, b"none\n")


def test_program_not_found(authuser: Path) -> None:
    result = check(authuser, login("joe", "secret"), "no-such-program")
    assert (result.returncode, result.stderr) == (111, b"")


def test_our_own_program_runs_in_the_same_process(authuser: Path) -> None:
    for folder in ("new", "cur"):
        (authuser / "Maildir" / folder).mkdir(parents=True)
    result = check(authuser, login("joe", "secret"), "true", "qmail-pop3d", "Maildir", cwd=authuser)
    assert (result.returncode, result.stdout) == (0, b"+OK \r\n")


@pytest.mark.parametrize(("token", "module", "words"), [("+", "checkvpw", "true Maildir"), ("&", "vchkpw", "true")])
class TestWrappers:
    """Tokens + and &: the module gets the same bytes, its exit code is the result."""

    def prepare(self, home: Path, token: str, module: str, script: str) -> str:
        (home / "users").mkdir()
        (home / "users/authuser").write_text(f"@v.example:{token}\n")
        (home / module).write_text(f"#!/bin/sh\n{script}\n")
        (home / module).chmod(0o755)
        return f"{home}:/usr/bin:/bin"

    def test_accepts(self, tmp_path: Path, token: str, module: str, words: str) -> None:
        path = self.prepare(tmp_path, token, module, f'cat <&3 >"{tmp_path}/seen"; echo "$@" >"{tmp_path}/words"')
        result = check(tmp_path, login("x@v.example", "pw", "ch"), "/bin/echo", "in", PATH=path)
        assert (result.returncode, result.stdout) == (0, b"in\n")
        assert (tmp_path / "seen").read_bytes() == b"x@v.example\0pw\0ch\0"
        assert (tmp_path / "words").read_text() == words + "\n"

    @pytest.mark.parametrize(("script", "code"), [("exit 1", 1), ("exit 33", 33), ("kill -9 $$", 111)])
    def test_refuses(self, tmp_path: Path, token: str, module: str, words: str, script: str, code: int) -> None:
        path = self.prepare(tmp_path, token, module, script)
        result = check(tmp_path, login("x@v.example", "pw"), "/bin/echo", "in", PATH=path)
        assert (result.returncode, result.stdout) == (code, b"")

    def test_missing(self, tmp_path: Path, token: str, module: str, words: str) -> None:
        self.prepare(tmp_path, token, module, "")
        os.unlink(tmp_path / module)
        result = check(tmp_path, login("x@v.example", "pw"), "/bin/echo", "in", PATH="/usr/bin:/bin")
        assert result.returncode == 111
