"""Password tokens (access 4.3, 17.2), as functions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.auth.checkpassword import ACCEPTED, REJECTED, TEMPORARY, Credentials
from qmail.auth.libcrypt import hash_password
from qmail.auth.schemes import verify
from qmail.auth.userfile import UserFile

SETTINGS = [
    b"$1$saltsalt$",
    b"$5$saltstring$",
    b"$6$saltstring$",
    b"$y$j9T$F5Jx5fExrKuPp53xLKQ..1$",
    b"$2b$04$abcdefghijklmnopqrstuu",
]


def response(text: bytes, challenge: bytes = b"") -> Credentials:
    """Somebody's response."""
    return Credentials(b"joe", text, challenge)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.decode()[:4])
def test_crypt(setting: bytes) -> None:
    token = hash_password(b"secret", setting)
    assert token is not None and token.startswith(setting[:3])
    assert verify(token, response(b"secret")) == ACCEPTED
    assert verify(token, response(b"Secret")) == REJECTED
    assert verify(b"{CRYPT}" + token, response(b"secret")) == ACCEPTED
    digest = hmac.new(token, b"<1@h>", "md5").hexdigest().encode()
    assert verify(token, response(digest, b"<1@h>")) == REJECTED


def test_broken_crypt_string_is_rejected() -> None:
    assert verify(b"$6$", response(b"*0")) == REJECTED
    assert verify(b"$y$garbage", response(b"*1")) == REJECTED


@pytest.mark.parametrize("name", ["sha256", "sha512"])
def test_salted(name: str) -> None:
    value = base64.b64encode(hashlib.new(name, b"secretsalt").digest() + b"salt")
    token = b"{S" + name.upper().encode() + b"}" + value
    assert verify(token, response(b"secret")) == ACCEPTED
    assert verify(token, response(b"secre")) == REJECTED
    assert verify(token[:12], response(b"secret")) == REJECTED


def test_argon_without_a_library_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "argon2", None)
    assert verify(b"$argon2id$v=19$m=16,t=2,p=1$c2FsdHNhbHQ$AAAA", response(b"secret")) == TEMPORARY


KEYS = st.text(st.characters(codec="ascii", exclude_characters="\n:\0"), min_size=1, max_size=8)
VALUES = st.text(st.characters(codec="ascii", exclude_characters="\n\0"), max_size=8)


@given(st.lists(st.tuples(KEYS, VALUES), max_size=8), KEYS)
def test_search_finds_what_a_map_would(entries: list[tuple[str, str]], wanted: str) -> None:
    text = "".join(f"{key}:{value}\n" for key, value in entries)
    table: dict[str, str] = {}
    for key, value in entries:
        line = f"{key}:{value}".rstrip(" \t\n")
        if not line.startswith("#"):
            table[key.lower()] = line.partition(":")[2]
    expected = table.get(wanted.lower())
    for other in ("@", "*"):
        expected = table.get(other) if expected is None else expected
    found = UserFile(text.encode()).token(wanted.encode(), b"")
    assert found == (None if expected is None else expected.encode())
