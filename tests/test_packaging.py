"""What reaches a user: versions, the sdist and the wheel, the import, the README's commands."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

import segue

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
BUILD_PRODUCTS = (
    "build",
    "dist",
    "*.so",
    "*.egg-info",
    "__pycache__",
    ".git",
    ".venv",
    ".*_cache",
    ".hypothesis",
)

sanitized = pytest.mark.skipif(
    "SEGUE_SANITIZED" in os.environ, reason="slower and linked otherwise on purpose"
)


def script(name: str) -> ModuleType:
    """A Python program of ci/ as a module."""
    loader = SourceFileLoader(f"ci_{name}", str(ROOT / "ci" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def run_python(*args: str, cwd: Path) -> str:
    """Runs Python elsewhere with the segue under test importable; its output."""
    env = {**os.environ, "PYTHONPATH": str(Path(segue.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, *args], cwd=cwd, env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project without build products."""
    copy = tmp_path_factory.mktemp("packaging") / "src"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*BUILD_PRODUCTS))
    return copy


@pytest.fixture(scope="module")
def sdist(sources: Path) -> set[str]:
    """Names in the sdist, without the leading folder."""
    out = sources.parent / "sdist"
    out.mkdir()
    run_python("-c", f"from setuptools import build_meta as b; b.build_sdist({str(out)!r})", cwd=sources)
    (archive,) = out.glob("*.tar.gz")
    assert archive.name == f"segue-{PYPROJECT['project']['version']}.tar.gz"
    with tarfile.open(archive) as tar:
        return {name.partition("/")[2] for name in tar.getnames()}


def test_versions_agree() -> None:
    version = PYPROJECT["project"]["version"]
    assert segue.__version__ == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_sdist_holds_the_whole_project(sdist: set[str]) -> None:
    wanted = {
        str(path.relative_to(ROOT))
        for folder in ("csrc", "pysrc", "tests", "docs", "ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in {".so", ".pyc", ".cpp"} and ".egg-info" not in str(path)
    }
    wanted |= {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "pyproject.toml", "setup.py"}
    assert wanted - sdist == set()


def test_sdist_holds_no_build_products(sdist: set[str]) -> None:
    assert [
        name for name in sdist if name.endswith((".so", ".o", ".pyc", ".cpp")) or name.startswith("build")
    ] == []


def test_wheel_holds_python_types_and_no_sources(sources: Path, tmp_path: Path) -> None:
    # build_py copies all of a wheel but the extension modules.
    run_python("setup.py", "-q", "build_py", "--build-lib", str(tmp_path), cwd=sources)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"segue/__init__.py", "segue/py.typed", "segue/_engine.pyi", "segue/_rows.pyi"} <= files
    assert {Path(name).suffix for name in files} == {".py", ".pyi", ".typed"}
    modules = {str(path.relative_to(ROOT / "pysrc")) for path in (ROOT / "pysrc" / "segue").rglob("*.py")}
    assert modules <= files


def test_readme_has_two_commands_and_ci_runs_them() -> None:
    first, second = script("readme_command").commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert first.startswith("python3 -m venv .venv && ")
    assert first.endswith(".venv/bin/segue demo")
    assert "'.[test]'" in second
    assert second.endswith(".venv/bin/python -m pytest")
    shown = subprocess.run(
        [sys.executable, ROOT / "ci/readme_command", "2"], capture_output=True, text=True, check=True
    )
    assert shown.stdout == second + "\n"
    assert 'ci/readme_command" 2)' in (ROOT / "ci/test").read_text(encoding="utf-8")
    assert "\nci/test\n" in (ROOT / ".ci/run").read_text(encoding="utf-8")


@sanitized
def test_import_is_quick() -> None:
    import_time = script("import_time")
    assert import_time.best_ms() < import_time.LIMIT_MS


def test_import_loads_no_heavy_package(tmp_path: Path) -> None:
    loaded = run_python("-c", "import segue, sys; print(*sys.modules)", cwd=tmp_path).split()
    heavy = {"deltalake", "duckdb", "numpy", "pandas", "polars", "pyarrow", "rich", "sqlglot", "typer"}
    assert heavy & set(loaded) == set()


def test_python_versions_agree() -> None:
    project = PYPROJECT["project"]
    assert project["requires-python"] == ">=3.11"
    built = {name.removesuffix("-*") for name in PYPROJECT["tool"]["cibuildwheel"]["build"]}
    named = {
        c.rpartition(" ")[2]
        for c in project["classifiers"]
        if c.startswith("Programming Language :: Python :: 3.")
    }
    assert built == {"cp" + version.replace(".", "") for version in named}


def test_every_dependency_is_explained() -> None:
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    project = PYPROJECT["project"]
    groups = [
        project["dependencies"],
        PYPROJECT["build-system"]["requires"],
        *project["optional-dependencies"].values(),
    ]
    names = {requirement.partition("=")[0].rstrip("><~! ") for group in groups for requirement in group}
    assert {name for name in names if f"`{name}`" not in page} == set()
