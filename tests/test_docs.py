"""What the documents say is so: their Python runs, their commands exist, their links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [body for tag, body in BLOCK.findall(page.read_text(encoding="utf-8")) if tag == language]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other, in an empty folder, as a reader would paste them."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for number, block in enumerate(blocks(page, "python"), 1):
        exec(compile(block, f"{name(page)} block {number}", "exec"), namespace)


def test_readme_example_is_short_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = blocks(ROOT / "README.md", "python")
    statements = [line for line in block.splitlines() if line.strip()]
    assert len(statements) <= 13
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    # Three events: two of song 789 and one of 790.
    printed = capsys.readouterr().out
    assert re.search(r"^Nina +2$\n^Miles +1$", printed, re.MULTILINE), printed


def segue_commands() -> list[list[str]]:
    """The `$ segue ...` lines of the pages, split as a shell would."""
    lines = [line for page in PAGES for block in blocks(page, "console") for line in block.splitlines()]
    return [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ segue ")]


def test_commands_and_their_options_exist() -> None:
    commands = segue_commands()
    assert commands
    helps: dict[str, str] = {}
    for _, verb, *arguments in commands:
        if verb not in helps:
            done = subprocess.run(
                [sys.executable, "-m", "segue", verb, "--help"], capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, f"segue {verb}: {done.stderr}"
            helps[verb] = done.stdout
        for option in (word for word in arguments if word.startswith("--")):
            assert option in helps[verb], f"segue {verb} has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)]
    assert [link for link in links if link and "://" not in link and not (page.parent / link).exists()] == []
