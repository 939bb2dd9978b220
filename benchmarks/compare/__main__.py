"""The command line: builds both sides, alternates them row by row, prints a table and fails on a slowdown."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.compare import builds, headline, verdict
from benchmarks.compare.builds import WORK_TREE, Side
from benchmarks.compare.pairing import Found, Pairing, RowFailedError, Worker, measure_all

SLOWER, UNUSABLE = 1, 2

DESCRIPTION = """\
Builds two commits and alternates them on the headline rows. Exit status 1: head is slower than base beyond
noise in a row, measured twice. 2: a side could not be built, a row failed on head, or outputs differ.
"""


def main(arguments: list[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    rows = headline.chosen(asked.only)
    verdict.bound_rank(asked.rounds)  # too few rounds are refused before anything is built
    with tempfile.TemporaryDirectory(prefix="segue-compare-") as temporary:
        kept = Path(asked.builds).resolve() if asked.builds else Path(temporary)
        base, head = _sides(asked.base, asked.head, kept, Path(temporary))
        say(f"base {base.commit}\nhead {head.commit}")
        python = _prepare((base, head), kept, asked.python)
        try:
            with Worker(head, python) as worker:
                inputs = worker.answer()["inputs"]
        except RowFailedError as failure:
            say(f"the inputs cannot be made by {failure}")
            return UNUSABLE
        pairing = Pairing(base, head, python, inputs, asked.rounds, asked.pairs, asked.effect)
        results = measure_all(pairing, rows, say)
    if asked.json:
        about = {"base": base.commit, "head": head.commit, "effect": asked.effect, "level": verdict.LEVEL}
        text = json.dumps({**about, "rows": [asdict(found) for found in results]}, indent=1)
        Path(asked.json).write_text(text, encoding="utf-8")
    return conclude(results)


def say(text: str) -> None:
    print(text, flush=True)


def conclude(results: Sequence[Found]) -> int:
    """Say in the end what is wrong; return the exit status."""
    slower = [found.row for found in results if found.slower]
    failed = [found.row for found in results if found.failed]
    for names, what in ((slower, "slower"), (failed, "not usable")):
        if names:
            say(f"{what}: {', '.join(names)}")
    if slower or failed:
        return UNUSABLE if failed else SLOWER
    if skipped := [found.row for found in results if found.comparison is None]:
        say(f"not compared: {', '.join(skipped)}")
        if len(skipped) == len(results):
            return UNUSABLE
    say("no row is slower")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ci/bench_compare", description=DESCRIPTION)
    parser.add_argument("base", nargs="?", help="default: where this branch left main; on main HEAD~1")
    parser.add_argument("head", nargs="?", help="default: the work tree")
    parser.add_argument("-k", dest="only", default="", help="rows whose name holds one of these words")
    parser.add_argument("--rounds", type=int, default=8, help="processes of each side a row, at least 5")
    parser.add_argument("--pairs", type=int, default=3, help="samples of each side in a round")
    parser.add_argument("--effect", type=float, default=verdict.EFFECT, help="slowdown that fails (0.10)")
    parser.add_argument("--json", help="file for every sample and verdict")
    parser.add_argument("--python", help="interpreter that has all that is needed; default: one is made")
    parser.add_argument("--builds", help="directory that keeps builds and environment for the next time")
    return parser


def _sides(base: str | None, head: str | None, kept: Path, unkept: Path) -> tuple[Side, Side]:
    commits = {"base": builds.commit_of(base) if base else builds.default_base()}
    if head:
        commits["head"] = builds.commit_of(head)
    else:
        commits["head"] = WORK_TREE if builds.changed() else builds.commit_of("HEAD")
    first, second = (
        # The work tree changes: its build is of no use to anybody later.
        Side(
            name,
            commit,
            unkept / "work-tree" if commit == WORK_TREE else kept / f"{name}-{commit[:12]}",
            unkept / f"scratch-{name}",
        )
        for name, commit in commits.items()
    )
    return first, second


def _prepare(sides: Sequence[Side], kept: Path, python: str | None) -> Path:
    for side in sides:
        builds.export(side)
    if python:
        interpreter = Path(python).absolute()  # not resolved: an environment's interpreter is a link
    else:
        interpreter = builds.environment(kept / "venv", builds.requirements(sides))
    for side in sides:
        say(f"building {side.name}")
        builds.build(side, interpreter)
    return interpreter


if __name__ == "__main__":
    sys.exit(main())
