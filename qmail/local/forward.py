"""Sending a message on through the queue: for `&address` in .qmail files and for the command forward (delivery 7.5, 11)."""

from __future__ import annotations

import os

from qmail.home import home
from qmail.local.message import Message, Unreadable
from qmail.queue.client import QueueClient, open_queue, result_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

QUEUE_UMASK = 0o033


class Outcome:
    """What the queue answered: `qp`, and nothing or a letter (D: for good) with a text."""

    __slots__ = ("qp", "text", "trouble")

    def __init__(self, qp: int, answer: bytes, trouble: Unreadable | None) -> None:
        self.qp = qp
        self.text = answer
        self.trouble = trouble

    def code(self) -> int:
        """0 queued, 100 refused, 111 later."""
        return (100 if self.text[:1] == b"D" else 111) if self.text else 0

    def reason(self) -> str:
        """The text without its letter."""
        return os.fsdecode(self.text[1:])


def forward(head: bytes, message: Message, sender: bytes, recipients: Iterable[bytes], env: Mapping[str, str]) -> Outcome:
    """Queue `head` and the message, from where it stands. Raises OSError when there is no process or pipe to be had."""
    queue = open_queue(home(env), env)
    before = os.umask(QUEUE_UMASK)  # only now: a program named by $QMAILQUEUE has ours
    try:
        trouble = _copy(queue, head, message)
        queue.envelope(sender, recipients)
        return Outcome(queue.qp, result_text(queue.close()), trouble)
    finally:
        os.umask(before)


def _copy(queue: QueueClient, head: bytes, message: Message) -> Unreadable | None:
    """The message, or its failure; the reason is returned."""
    queue.put(head)
    try:
        for block in message.blocks():
            queue.put(block)
    except Unreadable as trouble:
        queue.fail()
        return trouble
    return None
