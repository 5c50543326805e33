"""Option parsing as djb's getopt does it (ucspi 1.1, daemontools 1.1): clusters, no permutation, `--` ends."""

from __future__ import annotations

from qserver.base.errors import PERMANENT, Die


def getopt(argv: list[str], letters: str, usage_line: str, code: int = PERMANENT) -> tuple[list[tuple[str, str]], list[str]]:
    """Split argv (argv[0] = name) into options and operands.

    `letters` is djb's string: a letter followed by `:` takes an argument (the rest of its cluster, else the next word),
    one followed by `::` at most the rest of its cluster. Returns ([(letter, argument or "")], operands). Raises Die with
    the complaint and `usage_line` (if it is not empty), and `code`.
    """
    options: list[tuple[str, str]] = []
    prog = argv[0].rpartition("/")[2]
    at = 1
    while at < len(argv):
        word = argv[at]
        if len(word) < 2 or word[0] != "-":
            break
        at += 1
        if word == "--":
            break
        at = _cluster(word, argv, at, letters, options, prog, usage_line, code)
    return options, argv[at:]


def _cluster(
    word: str,
    argv: list[str],
    at: int,
    letters: str,
    options: list[tuple[str, str]],
    prog: str,
    usage_line: str,
    code: int,
) -> int:
    """Take the letters of one word; returns the index of the next word not consumed."""
    for position in range(1, len(word)):
        letter = word[position]
        found = letters.find(letter)
        if found < 0 or letter == ":":
            raise Die(f"{prog}: illegal option -- {letter}\n{usage_line}".rstrip("\n"), code)
        if letters[found + 1 : found + 2] != ":":
            options.append((letter, ""))
            continue
        if position + 1 < len(word) or letters[found + 1 : found + 3] == "::":
            options.append((letter, word[position + 1 :]))
        elif at < len(argv):
            options.append((letter, argv[at]))
            at += 1
        else:
            raise Die(f"{prog}: option requires an argument -- {letter}\n{usage_line}".rstrip("\n"), code)
        break
    return at


MOST_SECONDS = 2_000_000
UNSIGNED = (1 << 64) - 1
DIGITS = 64
"""Further digits to the left change nothing in the last 64 bits."""


def scan_seconds(text: str | bytes) -> int:
    """As `scan_number`, but no longer than the kernel can wait: three weeks are for ever."""
    return min(scan_number(text), MOST_SECONDS)


def scan_number(text: str | bytes, default: int = 0) -> int:
    """The leading decimal digits as a number, the rest ignored; `default` where there is no digit.

    Numbers go round at 2 to the power of 64, as those of scan_ulong do.
    """
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogateescape")
    end = 0
    while end < len(text) and 48 <= text[end] <= 57:
        end += 1
    return int(text[max(0, end - DIGITS) : end]) & UNSIGNED if end else default
