"""Header fields: what each one is to qmail-inject (delivery 9.2), and how a line is one (hfield.c)."""

from __future__ import annotations

ADDRESSES, RECIPIENTS, FOLLOWED, RESENT, SENDER = "addresses", "recipients", "followed", "resent", "sender"
"""What the addresses of a field are: nothing but addresses; recipients; recipients that a follow-up goes to as well;
recipients of a resent message; the sender."""

TREATMENT: dict[bytes, tuple[str | None, bool]] = {
    # name: (what its addresses are; None: not rewritten, whether the field is kept)
    b"to": (FOLLOWED, True),
    b"cc": (FOLLOWED, True),
    b"bcc": (RECIPIENTS, False),
    b"apparently-to": (RECIPIENTS, True),
    b"resent-to": (RESENT, True),
    b"resent-cc": (RESENT, True),
    b"resent-bcc": (RESENT, False),
    b"return-path": (SENDER, False),
    b"sender": (ADDRESSES, True),
    b"from": (ADDRESSES, True),
    b"reply-to": (ADDRESSES, True),
    b"return-receipt-to": (ADDRESSES, True),
    b"errors-to": (ADDRESSES, True),
    b"resent-sender": (ADDRESSES, True),
    b"resent-from": (ADDRESSES, True),
    b"resent-reply-to": (ADDRESSES, True),
    b"content-length": (None, False),
}
"""Fields that are not in the table are kept as they are."""
VERBATIM = (None, True)

RESENT_MARKS = frozenset(
    b"resent-" + name for name in (b"sender", b"from", b"reply-to", b"to", b"cc", b"bcc", b"date", b"message-id")
)
"""Fields that make a message a resent one."""
BLANKS = b" \t"
PRINTABLE = bytes(range(33, 127))


def name_of(field: bytes) -> bytes:
    """The name before the colon, without blanks, in lower case."""
    return field.partition(b":")[0].rstrip(BLANKS).lower()


def is_field(line: bytes) -> bool:
    """Whether a line starts a field: printable ASCII, perhaps blanks, a colon."""
    name, colon, _ = line.partition(b":")
    name = name.rstrip(BLANKS)
    return bool(colon and name) and not name.translate(None, PRINTABLE)
