"""A row measured on both sides: processes that alternate, round by round."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.compare import verdict
from benchmarks.compare.builds import ROOT, Side
from benchmarks.compare.headline import Row
from benchmarks.compare.verdict import Comparison


class RowFailedError(Exception):
    """A side could not measure a row; the message is what it said."""

    def __init__(self, side: Side, message: str) -> None:
        super().__init__(f"{side.name}: {message}")
        self.side = side


class Worker:
    """A process of one side that measures one row; see :mod:`benchmarks.compare.worker`."""

    def __init__(self, side: Side, python: Path, **asked: Any) -> None:
        self.side = side
        paths = [str(side.package), str(ROOT)]
        side.scratch.mkdir(parents=True, exist_ok=True)
        request = {"package": str(side.package), "scratch": str(side.scratch), **asked}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [str(python), "-P", "-m", "benchmarks.compare.worker", json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=side.scratch,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # it is gone already, and has been complained about
            self._in.close()
        self._process.wait()
        self._out.close()
        self._errors.close()

    def answer(self) -> dict[str, Any]:
        """Wait for the next line that it says."""
        line = self._out.readline()
        if line:
            said: dict[str, Any] = json.loads(line)
            return said
        self._process.wait()
        self._errors.seek(0)
        said_before = self._errors.read()[-3000:].strip()
        raise RowFailedError(self.side, f"exit status {self._process.returncode}: {said_before}")

    def sample(self) -> tuple[float, str]:
        """Measure once: seconds and digest."""
        with contextlib.suppress(BrokenPipeError):  # the answer that does not come says why
            self._in.write("sample\n")
            self._in.flush()
        said = self.answer()
        return said["seconds"], said["digest"]


@dataclass
class Found:
    """What was measured of one row."""

    row: str
    title: str
    base_seconds: list[list[float]] = field(default_factory=list)
    head_seconds: list[list[float]] = field(default_factory=list)
    """Of each round, one sample a pair."""
    comparison: Comparison | None = None
    note: str = ""
    """Why there is no comparison."""
    failed: bool = False
    """Head is to blame for that."""

    @property
    def slower(self) -> bool:
        return self.comparison is not None and self.comparison.verdict == "slower"

    @staticmethod
    def median(side: Sequence[Sequence[float]]) -> float:
        return statistics.median(seconds for samples in side for seconds in samples)


@dataclass(frozen=True)
class Pairing:
    """Two sides, base and head, and how often they are measured."""

    base: Side
    head: Side
    python: Path
    inputs: Mapping[str, str]
    rounds: int
    pairs: int
    effect: float

    def measure(self, row: Row, rounds: int | None = None) -> Found:
        """Measure one row on both sides and compare them."""
        found = Found(row.name, row.title)
        digests: dict[str, set[str]] = {"base": set(), "head": set()}
        try:
            for number in range(rounds or self.rounds):
                samples = self._round(row, number, digests)
                found.base_seconds.append(samples["base"])
                found.head_seconds.append(samples["head"])
        except RowFailedError as failure:
            # A row that the older commit cannot run is new; one that the newer cannot run is broken.
            found.note, found.failed = str(failure), failure.side is self.head
            return found
        if len(digests["base"] | digests["head"]) > 1:
            said = ", ".join(f"{name} {' '.join(sorted(some))}" for name, some in digests.items())
            found.note, found.failed = f"outputs differ: {said}", True
            return found
        both = zip(found.base_seconds, found.head_seconds, strict=True)
        found.comparison = verdict.judge([verdict.round_ratio(*sides) for sides in both], self.effect)
        return found

    def _round(self, row: Row, number: int, digests: Mapping[str, set[str]]) -> dict[str, list[float]]:
        """Start a process of each side, and let them take turns."""
        samples: dict[str, list[float]] = {"base": [], "head": []}
        # Who goes first changes from round to round, and from pair to pair.
        sides = (self.base, self.head) if number % 2 == 0 else (self.head, self.base)
        with contextlib.ExitStack() as stack:
            workers = []
            for side in sides:
                worker = stack.enter_context(Worker(side, self.python, row=row.name, inputs=self.inputs))
                worker.answer()  # ready; one prepares after the other
                workers.append(worker)
            for pair in range(self.pairs):
                for worker in workers if pair % 2 == 0 else workers[::-1]:
                    seconds, digest = worker.sample()
                    samples[worker.side.name].append(seconds)
                    digests[worker.side.name].add(digest)
        return samples


def measure_all(pairing: Pairing, rows: Sequence[Row], say: Callable[[str], None]) -> list[Found]:
    """Measure rows in order; one that looks slower is measured again, on new samples and more of them."""
    results = []
    say(f"{'row':<20} {'base':>10} {'head':>10}  {'head/base':<24} verdict")
    for row in rows:
        found = pairing.measure(row)
        say(line(found))
        if found.slower:
            # With many rows chance alone says so now and then.
            found = pairing.measure(row, 2 * pairing.rounds)
            say(line(found, "again: "))
        results.append(found)
    return results


def line(found: Found, before: str = "") -> str:
    """One row of the table."""
    if found.comparison is None:
        return f"{found.row:<20} not compared: {found.note}"
    ratio = found.comparison
    base, head = (found.median(side) * 1e3 for side in (found.base_seconds, found.head_seconds))
    bounds = f"{ratio.ratio:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
    return f"{found.row:<20} {base:>7.1f} ms {head:>7.1f} ms  {bounds:<24} {before}{ratio.verdict}"
