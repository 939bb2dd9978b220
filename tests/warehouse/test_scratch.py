"""Scratch folders of fresh queries do not outlive the processes that use them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import segue

HOLD = """
import sys, segue
with segue.open(sys.argv[1], mode="r") as db, db.scratch() as folder:
    (folder / "run").write_bytes(b"x" * 1000)
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process in the middle of a query."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def open_for_writing(path: Path) -> None:
    segue.open(path).close()


def next_query_of_a_reader(path: Path) -> None:
    with segue.open(path, mode="r") as db, db.scratch() as folder:
        assert [p.name for p in (path / "tmp").iterdir()] == [folder.name]


@pytest.mark.parametrize("clear", [open_for_writing, next_query_of_a_reader])
def test_what_a_killed_process_left_is_removed(tmp_path: Path, clear: Callable[[Path], None]) -> None:
    segue.open(tmp_path).close()
    with holder(tmp_path) as (process, folder):
        process.kill()
        process.wait()
        assert (folder / "run").exists()
        clear(tmp_path)
        assert list((tmp_path / "tmp").iterdir()) == []


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    segue.open(tmp_path).close()
    with holder(tmp_path) as (process, folder):
        with segue.open(tmp_path) as db, db.scratch() as own, db.scratch() as another:
            assert len({folder, own, another}) == 3
            assert (folder / "run").exists()
            assert own.is_dir()
            assert another.is_dir()
            segue.open(tmp_path, mode="r").close()
        assert list((tmp_path / "tmp").iterdir()) == [folder]
        process.communicate("")
        assert process.returncode == 0
    assert list((tmp_path / "tmp").iterdir()) == []
