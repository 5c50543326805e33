"""System accounts: the tokens ? and ! (access 4.4), against an account of the machine with a password of our own."""

from __future__ import annotations

import pwd

import pytest

from qmail.auth import accounts, libcrypt
from qmail.auth.checkpassword import ACCEPTED, REJECTED, TEMPORARY, Credentials

ME = pwd.getpwuid(0).pw_name.encode()


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[bytes | OSError | None]:
    """What the shadow file says: a list of one item that the test fills."""
    said: list[bytes | OSError | None] = []

    def shadow_password(_name: bytes) -> bytes | None:
        if isinstance(said[0], OSError):
            raise said[0]
        return said[0]

    monkeypatch.setattr(libcrypt, "shadow_password", shadow_password)
    return said


def test_accepted_with_identity(stored: list[bytes | OSError | None]) -> None:
    stored.append(libcrypt.hash_password(b"secret", b"$6$salt$"))
    outcome = accounts.check_account(Credentials(ME + b"@any.example", b"secret"))
    assert outcome.code == ACCEPTED and outcome.identity is not None
    entry = pwd.getpwuid(0)
    assert (outcome.identity.uid, outcome.identity.gid) == (entry.pw_uid, entry.pw_gid)
    env = outcome.identity.environment({"PATH": "/bin", "SHELL": "/old"})
    assert env == {"PATH": "/bin", "USER": f"{ME.decode()}@any.example", "HOME": entry.pw_dir, "SHELL": entry.pw_shell}


@pytest.mark.parametrize(
    ("field", "code"),
    [(b"*", REJECTED), (b"!", REJECTED), (b"!$6$x", REJECTED), (b"", TEMPORARY), (b"$6$salt$no", REJECTED)],
)
def test_refused(stored: list[bytes | OSError | None], field: bytes, code: int) -> None:
    stored.append(field)
    assert accounts.check_account(Credentials(ME, b"secret")).code == code


def test_unreadable_shadow_is_temporary(stored: list[bytes | OSError | None]) -> None:
    stored.append(PermissionError(13, "denied"))
    assert accounts.check_account(Credentials(ME, b"secret")).code == TEMPORARY


@pytest.mark.parametrize("name", [b"no-such-account-here", b"", b"@example.org"])
def test_unknown(name: bytes) -> None:
    assert accounts.check_account(Credentials(name, b"x")).code == REJECTED


@pytest.mark.root
def test_the_shadow_file_is_read() -> None:
    assert libcrypt.shadow_password(ME) is not None
    assert libcrypt.shadow_password(b"no-such-account-here") is None
