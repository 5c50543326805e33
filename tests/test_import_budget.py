"""Commands that scripts exec one after another must not import what costs more than their work."""

from __future__ import annotations

import pytest

from tests.support import BIN, ROOT, run

ONE_SHOTS = (
    "qserver.commands.envdir",
    "qserver.commands.envini",
    "qserver.commands.envuidgid",
    "qserver.commands.fghack",
    "qserver.commands.multilog",
    "qserver.commands.pgrphack",
    "qserver.commands.readproctitle",
    "qserver.commands.setlock",
    "qserver.commands.setuidgid",
    "qserver.commands.setuser",
    "qserver.commands.softlimit",
    "qserver.commands.supervise",
    "qserver.commands.svc",
    "qserver.commands.svok",
    "qserver.commands.svscan",
    "qserver.commands.svscanboot",
    "qserver.commands.svstat",
    "qserver.commands.svup",
    "qserver.commands.svwait",
    "qserver.commands.tai64n",
    "qserver.commands.tai64nlocal",
    "qserver.commands.tcprules",
    "qserver.commands.tcprulescheck",
    "qmail.commands.qmail_queue",
)
TABOO = {
    "asyncio", "collections", "contextlib", "dataclasses", "dns", "email", "enum", "functools", "importlib.util", "logging",
    "pathlib", "re", "shutil", "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "typing",
}  # fmt: skip
PROBE = """
import sys
before = set(sys.modules)
sys.path.insert(0, {root!r})
import qserver.launch, {module}
print(" ".join(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("module", ONE_SHOTS)
def test_one_shot_imports_nothing_heavy(module: str) -> None:
    done = run([str(BIN / "python"), "-IS", "-c", PROBE.format(root=str(ROOT), module=module)])
    assert done.returncode == 0, done.stderr
    assert not TABOO & set(done.stdout.decode().split())
