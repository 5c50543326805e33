"""Entry points from the one table of commands; the conf-* files travel inside the package."""

import ast
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


def table(name: str) -> dict[str, str]:
    """A literal dictionary of qserver/launch.py, read without importing it."""
    for node in ast.parse((ROOT / "qserver/launch.py").read_text()).body:
        target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
        if isinstance(target, ast.Name) and target.id == name:
            return dict(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    raise LookupError(name)


class BuildWithConf(build_py):
    """Copies conf-* into qmail/conf/, where qmail.home finds them after an installation."""

    def run(self) -> None:
        super().run()
        target = Path(self.build_lib) / "qmail/conf"
        target.mkdir(parents=True, exist_ok=True)
        for source in ROOT.glob("conf-*"):
            shutil.copy(source, target)


setup(
    cmdclass={"build_py": BuildWithConf},
    entry_points={"console_scripts": [f"{n} = qserver.launch:main" for n in (*table("COMMANDS"), *table("ALIASES"))]},
)
