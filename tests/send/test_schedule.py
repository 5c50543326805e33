"""The retry arithmetic and the agenda."""

from __future__ import annotations

from itertools import pairwise
from math import floor, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.send.schedule import LOCAL, REMOTE, SKIP, Agenda, is_dying, next_retry

TIMES = st.integers(0, 2**33)


@pytest.mark.parametrize(
    ("channel", "attempts"),
    [(LOCAL, [0, 100, 400, 900, 1600, 2500, 3600]), (REMOTE, [0, 400, 1600, 3600, 6400, 10000, 14400])],
)
def test_a_message_is_tried_at_the_squares(channel: int, attempts: list[int]) -> None:
    birth = 1_000_000_007
    for now, then in pairwise(attempts):
        assert next_retry(birth, birth + now, channel) == birth + then


@given(birth=TIMES, age=st.integers(0, 10**7), channel=st.sampled_from([LOCAL, REMOTE]))
def test_retry_is_the_square_of_the_root_of_the_age_and_the_skip(birth: int, age: int, channel: int) -> None:
    retry = next_retry(birth, birth + age, channel)
    assert retry == birth + (floor(sqrt(age)) + SKIP[channel]) ** 2
    assert retry > birth + age


@given(birth=TIMES, early=st.integers(0, 10**6), channel=st.sampled_from([LOCAL, REMOTE]))
def test_a_message_from_the_future_is_new(birth: int, early: int, channel: int) -> None:
    assert next_retry(birth, birth - early, channel) == next_retry(birth, birth, channel)


def test_a_week_has_so_many_remote_attempts() -> None:
    now, attempts = 0, 0
    while not is_dying(0, now, 604800):
        now = next_retry(0, now, REMOTE)
        attempts += 1
    assert attempts == 39


@pytest.mark.parametrize(("now", "dying"), [(0, False), (604800, False), (604801, True)])
def test_the_last_attempt_is_the_one_after_the_lifetime(now: int, dying: bool) -> None:
    assert is_dying(0, now, 604800) is dying


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 1000))), st.integers(0, 50))
def test_agenda_gives_what_is_due_in_order(entries: list[tuple[int, int]], now: int) -> None:
    agenda = Agenda()
    for due, number in entries:
        agenda.add(number, due)
    taken = list(iter(lambda: agenda.take(now), None))
    dues = sorted(due for due, _ in entries if due <= now)
    assert sorted(number for number in taken if number) == sorted(number for due, number in entries if due <= now)
    assert len(taken) == len(dues)
    assert agenda.earliest() == min((due for due, _ in entries if due > now), default=None)


@given(st.lists(st.tuples(st.integers(100, 10**9), st.integers(1, 1000)), min_size=1))
def test_all_due(entries: list[tuple[int, int]]) -> None:
    agenda = Agenda()
    for due, number in entries:
        agenda.add(number, due)
    agenda.all_due(7)
    assert agenda.take(6) is None
    everything = [agenda.take(7) for _ in entries]
    assert sorted(number for number in everything if number is not None) == sorted(number for _, number in entries)
    agenda.add(5, 1)
    assert agenda.earliest() == 1
