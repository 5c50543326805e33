"""The language of .qmail files (delivery 7.3, 7.4): which files to look for, and what their lines mean. Pure functions."""

from __future__ import annotations

PREFIX = b".qmail"
DEFAULT = b"default"
BLANKS = b" \t"

COMMENT, MAILDIR, MBOX, PROGRAM, FORWARD, FORWARD_ONLY, BLANK = range(7)
"""What a line asks for. BLANK is an empty line at the beginning of the file; elsewhere it is a comment."""

Instruction = tuple[int, bytes]
"""(kind, argument): a file name, a command for the shell, an address."""


def safe(extension: bytes) -> bytes:
    """An extension as part of a file name: lower case, and no dots, so that it cannot leave the directory upwards."""
    return extension.lower().replace(b".", b":")


def candidates(dash: bytes, extension: bytes) -> list[tuple[bytes, bytes | None]]:
    """(file name, $DEFAULT or None) to try in this order: the extension itself, then ever shorter `…-default`."""
    stem = PREFIX + dash
    name = safe(extension)
    literal = extension[len(name) - len(DEFAULT) :] if name.endswith(DEFAULT) else None
    found = [(stem + name, literal)]
    for end in range(len(name), -1, -1):
        if end == 0 or name[end - 1] == 0x2D:
            found.append((stem + name[:end] + DEFAULT, extension[end:]))
    return found


def owner_files(dash: bytes, extension: bytes) -> tuple[bytes, bytes]:
    """The files whose presence makes the list's owner the sender of what is forwarded, and makes it a VERP sender."""
    stem = PREFIX + dash + safe(extension) + b"-owner"
    return stem, stem + b"-default"


def parse(data: bytes) -> list[Instruction]:
    """The instructions of a file in order. `data` may lack its last newline; without contents it is one blank line."""
    lines = data.removesuffix(b"\n").split(b"\n")
    found = [instruction(line.rstrip(BLANKS)) for line in lines]
    if lines[0].rstrip(BLANKS)[:1] in (b"", b"\0"):
        found[0] = (BLANK, b"")
    return found


def instruction(line: bytes) -> Instruction:
    """What one line, its trailing blanks cut, asks for. As in C, a NUL ends it."""
    first = line[:1]
    text = line.partition(b"\0")[0] if b"\0" in line else line
    if not text or first == b"#":
        return COMMENT, text
    if first in (b".", b"/"):
        return (MAILDIR if line.endswith(b"/") else MBOX), text
    if first == b"|":
        return PROGRAM, text[1:]
    if first == b"+":
        return (FORWARD_ONLY if text == b"+list" else COMMENT), text
    return FORWARD, text[1:] if first == b"&" else text
