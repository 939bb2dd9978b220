"""Two sides: the sources of a commit or of the work tree, built in a directory of their own.

Both sides share one environment (the same numpy, pyarrow, compiler), so that they differ in the commit alone.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK_TREE = "work tree"


@dataclass(frozen=True)
class Side:
    """One of the two."""

    name: str
    """``base`` or ``head``."""
    commit: str
    """A full hash, or ``work tree``."""
    sources: Path
    scratch: Path
    """For what rows write; never kept, as another version of the rows would find it."""

    @property
    def package(self) -> Path:
        """What PYTHONPATH has to name."""
        return self.sources / "pysrc"


def git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def commit_of(name: str) -> str:
    return git("rev-parse", "--verify", f"{name}^{{commit}}")


def default_base() -> str:
    """Return where this branch left main; on main itself the commit before, or HEAD if files were changed."""
    head = commit_of("HEAD")
    for main in ("origin/main", "main"):
        known = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "--verify", "--quiet", main],
            capture_output=True,
            check=False,
        )
        if known.returncode == 0:
            base = git("merge-base", main, head)
            if base != head:
                return base
            break
    return head if changed() else commit_of("HEAD~1")


def changed() -> bool:
    """Whether the work tree differs from HEAD."""
    return bool(git("status", "--porcelain"))


def export(side: Side) -> None:
    """Write the side's sources, without build products, if they are not there yet."""
    if side.sources.exists():
        return
    unfinished = side.sources.with_name(side.sources.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    if side.commit == WORK_TREE:
        _copy_work_tree(unfinished)
    else:
        command = ["git", "-C", str(ROOT), "archive", "--format=tar", side.commit]
        archive = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(unfinished, filter="data")
    unfinished.rename(side.sources)


def _copy_work_tree(target: Path) -> None:
    for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        source = ROOT / name
        if name and source.is_file():  # a file deleted in the work tree is still listed
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)


def requirements(sides: Iterable[Side]) -> list[str]:
    """What building and running the sides takes, as their own files say."""
    found: dict[str, None] = {}
    for side in sides:
        project = tomllib.loads((side.sources / "pyproject.toml").read_text(encoding="utf-8"))
        for need in (*project["build-system"]["requires"], *project["project"]["dependencies"]):
            found[need] = None
    return list(found)


def environment(directory: Path, needs: list[str]) -> Path:
    """Make a virtual environment with `needs`, or take one that is there; return its interpreter."""
    python = directory / "bin" / "python"
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(directory)], cwd=ROOT)
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *needs], cwd=ROOT)
    return python


def build(side: Side, python: Path) -> None:
    """Build the side's extension modules in place; once for a directory that is kept."""
    done = side.sources / "build" / "complete"
    if done.exists():
        return
    settings = dict(os.environ)
    if shutil.which("ccache") and "CC" not in settings and "CXX" not in settings:
        settings |= {"CC": "ccache cc", "CXX": "ccache c++"}
    _run([str(python), "setup.py", "--quiet", "build_ext", "--inplace"], cwd=side.sources, env=settings)
    done.touch()


def _run(command: list[str], cwd: Path, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(
            f"{' '.join(command)}\nfailed in {cwd} with {done.returncode}:\n{done.stdout[-8000:]}"
        )
