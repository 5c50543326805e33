"""Words of multilog's script and what they come to."""

from __future__ import annotations

import pytest

from qserver.log.script import Script, parse


def directory(script: Script, number: int = 0) -> tuple[bytes, int, int, bytes | None, bytes]:
    action = [action for action in script.actions if action.kind == "/"][number]
    settings = action.settings
    return action.path, settings.size, settings.number, settings.processor, settings.finished


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["./d"], (b"./d", 99999, 10, None, b".s")),
        (["s5000", "n5", "/d"], (b"/d", 5000, 5, None, b".s")),
        (["s", "n", "./d"], (b"./d", 4096, 2, None, b".s")),
        (["s4095x9", "n1", "./d"], (b"./d", 4096, 2, None, b".s")),
        (["s16777216", "./d"], (b"./d", 16777216, 10, None, b".s")),
        (["s99999999999", "n007x", "./d"], (b"./d", 2147483647, 7, None, b".s")),
        (["s" + "9" * 5000, "n" + "0" * 5000 + "3", "./d"], (b"./d", 2147483647, 3, None, b".s")),
        (["!gzip -9", "wgz", "./d"], (b"./d", 99999, 10, b"gzip -9", b".gz")),
        (["!", "./d"], (b"./d", 99999, 10, b"", b".s")),
        (["", "x", "s5000", "y", "./d", "s6000"], (b"./d", 5000, 10, None, b".s")),
    ],
)
def test_settings_of_a_directory(words: list[str], expected: tuple[bytes, int, int, bytes | None, bytes]) -> None:
    assert directory(parse(words)) == expected


def test_settings_hold_for_all_that_follows() -> None:
    script = parse(["s5000", "./a", "n3", "./b", "!x", "s6000", "./c"])
    assert [directory(script, number)[:4] for number in range(3)] == [
        (b"./a", 5000, 10, None),
        (b"./b", 5000, 3, None),
        (b"./c", 6000, 3, b"x"),
    ]


@pytest.mark.parametrize(
    ("words", "stamp"),
    [([], ""), (["t"], "t"), (["time"], "t"), (["T"], "T"), (["d"], "d"), (["./d", "t"], ""), (["", "t"], ""), (["e", "T"], ""),
     (["e", "d"], "")],
)  # fmt: skip
def test_only_the_first_word_stamps(words: list[str], stamp: str) -> None:
    assert parse(words).stamp == stamp


def test_each_action_has_the_selection_at_its_place() -> None:
    script = parse(["=a", "-*", "e", "./b", "+*", "=c"])
    kinds = [(action.kind, action.path, action.selection.everything) for action in script.actions]
    assert kinds == [("=", b"a", True), ("e", b"e", False), ("/", b"./b", False), ("=", b"c", True)]
    assert script.actions[1].selection is script.actions[2].selection


def test_modes_of_patterns() -> None:
    script = parse(["-*", "F", "+a?c", "S", "+x?z", "./d"])
    selection = script.actions[0].selection
    from qserver.log.batch import Batch

    found = selection.select(Batch(b"abc\nx?z\nxyz\n"))
    assert found is not None
    assert found.lines == [b"abc", b"x?z"]
