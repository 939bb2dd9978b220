"""The examples in the docstrings run, and print what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

import segue

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules() -> list[ModuleType]:
    """Every Python module of the package; `__main__` would start the command line."""
    names = [info.name for info in pkgutil.walk_packages(segue.__path__, "segue.")]
    found = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    return [segue, *(module for module in found if str(module.__file__).endswith(".py"))]


def examples(module: ModuleType) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


CASES = [test for module in modules() for test in examples(module)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_example(case: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(case, out=report.append, clear_globs=False)
    assert runner.failures == 0, "".join(report)
