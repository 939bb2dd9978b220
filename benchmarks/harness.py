"""How contenders are measured: alternating, each in a process of its own, outputs checked equal.

A *contender* is a function ``run(work: Path, params: dict) -> Outcome`` in an importable module: it prepares
untimed, times its measured parts with :class:`Timer` and returns a digest of its output. Imports belong to
the preparation, hidden ones too (``pyarrow.Array.to_numpy`` imports pandas). In a suite::

    CONTENDERS = [Contender("segue", "benchmarks.events.ours:batches"),
                  Contender("rocksdict", "benchmarks.events.peers:rocksdict_batches", requires=("rocksdict",),
                            options="WriteBatch, bloom filter 10 bits")]

    @pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: c.name)
    def test_batches(contest, contender):
        contest("events/batches", CONTENDERS, contender, params={"rows": 100_000}, durability="os")

The first test of a group that is reached runs the alternation of all its selected contenders: round 1 of
each, then round 2 of each. Every test then replays its own samples into pytest-benchmark, whose statistics,
table, JSON and ``--benchmark-compare`` hold them.

Every child imports this module: what only the parent needs is imported where it is used.
"""

from __future__ import annotations

import atexit
import functools
import json
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks import meter
from benchmarks.nursery import Nursery

ROOT = Path(__file__).resolve().parent.parent

SECONDS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


@dataclass(frozen=True)
class Outcome:
    """What a contender gives back. `digest` is a canonical hash of its output, equal across contenders."""

    seconds: list[float]
    rows: int
    digest: str
    extra: dict[str, Any] = field(default_factory=dict)
    """Further figures; numbers are reported as the median of the rounds, anything else as in the last.

    Entries named ``X_seconds_each`` hold the samples of another measured part, see ``Contest``, and
    ``X_usage`` what it used (``Timer.usage``).
    """


@dataclass(frozen=True)
class Contender:
    """One way to do the work of a group."""

    name: str
    function: str
    """``module:function``, importable in the child."""
    requires: tuple[str, ...] = ()
    """Distributions, or ``command:java`` for a program; one that is missing skips the contender."""
    options: str = ""
    """Its settings in words, as its documentation recommends; stands in the report."""
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    role: str = "peer"
    """``limit`` for what no store can beat, such as a bare write loop: shown, but not counted as a peer."""

    def missing(self) -> str | None:
        """Why it cannot run here, or None."""
        for need in self.requires:
            kind, _, program = need.rpartition(":")
            if kind == "command":
                import shutil

                if shutil.which(program) is None:
                    return f"{self.name}: the program {program!r} is not on the PATH"
            elif version_of(need) is None:
                return f"{self.name}: the distribution {need!r} is not installed"
        return None


class Timer:
    """Times a measured part: ``with timer: ...`` once or more; `seconds` holds one entry per part.

    Processor and io of the measured parts alone are counted too. With `reset_peaks` that goes for memory as
    well: peaks outside of the measured parts do not count.
    """

    def __init__(self, reset_peaks: bool = False) -> None:
        self.seconds: list[float] = []
        self.usage: dict[str, float | int | None] = {}
        """Of one part, on average so far; memory since the first one began, with `reset_peaks`."""
        self._peaks = reset_peaks
        self._used = meter.Counters()

    def __enter__(self) -> Self:
        self._meter = meter.active
        if self._meter is not None:
            if self._peaks:
                if not self.seconds:
                    self._meter.reset_peaks()
                self._meter.watch(True)
            self._before = self._meter.counters()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *exc: object) -> None:
        self.seconds.append(time.perf_counter() - self._began)
        if self._meter is not None:
            used = self._meter.counters() - self._before
            self._meter.add_timed(used)
            if self._peaks:
                self._meter.watch(False)
            self._used += used
            self.usage = self._meter.figures(self._used.shared(len(self.seconds)))


@dataclass(frozen=True)
class Sample:
    """One run of one contender in its child process."""

    outcome: Outcome
    usage: dict[str, float | int | None]


@dataclass
class Measured:
    """All rounds of one contender; `failure` says why there are none."""

    contender: Contender
    samples: list[Sample] = field(default_factory=list)
    failure: str = ""

    @property
    def seconds(self) -> list[float]:
        return [second for sample in self.samples for second in sample.outcome.seconds]

    @property
    def rows(self) -> int:
        return self.samples[-1].outcome.rows

    @property
    def digest(self) -> str:
        return self.samples[-1].outcome.digest

    @property
    def extra(self) -> dict[str, Any]:
        """Figures over the rounds; those of further measured parts stay out."""
        entries = [sample.outcome.extra for sample in self.samples]
        others = ("_seconds_each", "_usage")
        return _merge([{k: v for k, v in entry.items() if not k.endswith(others)} for entry in entries])

    def each(self, name: str) -> list[float]:
        """Return a figure of ``Outcome.extra`` of every round."""
        return [sample.outcome.extra[name] for sample in self.samples]

    def samples_named(self, name: str) -> list[float]:
        """Return the samples of another measured part, from ``Outcome.extra[name]`` of every round."""
        return [second for sample in self.samples for second in sample.outcome.extra[name]]

    @property
    def usage(self) -> dict[str, Any]:
        """Medians over the rounds; for memory the largest."""
        return _merge_usage([sample.usage for sample in self.samples])

    def usage_named(self, name: str) -> dict[str, Any]:
        """Return what the part with the samples `name` used, or the whole where that was not told apart."""
        own = name.removesuffix("_seconds_each") + "_usage"
        parts = [sample.outcome.extra.get(own) for sample in self.samples]
        known = [part for part in parts if part]
        return {**self.usage, **_merge_usage(known)} if known else self.usage


def _merge_usage(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    merged = _merge(rounds)
    for name in ("memory_anonymous", "memory_mapped"):
        known = [usage[name] for usage in rounds if usage[name] is not None]
        merged[name] = max(known) if known else None
    return merged


class ContenderFailedError(AssertionError):
    """A contender's child process failed; the message holds what it said."""


class OutputsDifferError(AssertionError):
    """Contenders of one group gave different outputs; the message names who."""


def run_child(contender: Contender, params: Mapping[str, Any], work_root: Path | None = None) -> Sample:
    """Run one contender once in a process of its own, in a fresh directory that is removed afterwards."""
    import tempfile

    asked = {**params, **contender.params}
    with tempfile.TemporaryDirectory("", "segue-bench-", work_root, ignore_cleanup_errors=True) as folder:
        said, work = Path(folder), Path(folder, "work")
        work.mkdir()
        if asked.get("scale") != "small":
            os.sync()  # what the one before left dirty is not to be paid for by this one
        request = json.dumps({"work": str(work), "params": asked})
        code = _nursery().run(contender.function, request, _pools(asked), said)
        if code != 0:
            stderr = (said / "stderr").read_text(errors="replace")[-8000:]
            raise ContenderFailedError(
                f"{contender.name} ({contender.function}) exited with {code}:\n{stderr}"
            )
        answer = json.loads((said / "stdout").read_text().splitlines()[-1])
    usage = answer.pop("usage")
    return Sample(Outcome(**answer), usage)


def alternate(
    contenders: Sequence[Contender],
    params: Mapping[str, Any],
    rounds: int,
    work_root: Path | None = None,
) -> dict[str, Measured]:
    """Run round 1 of each contender, then round 2 of each; a contender that fails drops out.

    Input files are in the page cache from the first round on.

    Raises
    ------
    OutputsDifferError
        Digests or row counts differ between contenders, or between the rounds of one.
    """
    results = {contender.name: Measured(contender) for contender in contenders}
    warm(params)
    for _ in range(rounds):
        for contender in contenders:
            measured = results[contender.name]
            if measured.failure:
                continue
            try:
                measured.samples.append(run_child(contender, params, work_root))
            except ContenderFailedError as failure:
                measured.failure = str(failure)
    check_equal(results)
    return results


def check_equal(results: Mapping[str, Measured]) -> None:
    """Assert that all samples have one digest and one number of rows."""
    answers: dict[tuple[str, int], list[str]] = {}
    for name, measured in results.items():
        for number, sample in enumerate(measured.samples, 1):
            answers.setdefault((sample.outcome.digest, sample.outcome.rows), []).append(
                f"{name} (round {number})"
            )
    if len(answers) > 1:
        said = "\n".join(
            f"  {rows} rows, digest {digest}: {', '.join(who)}" for (digest, rows), who in answers.items()
        )
        raise OutputsDifferError(f"contenders gave different outputs:\n{said}")


def annotate(
    benchmark: Any,
    group: str,
    *,
    contender: str,
    rows: int,
    unit: str = "rows/s",
    value: float | None = None,
    seconds: Sequence[float] | None = None,
    requires: Iterable[str] = (),
    **facts: Any,
) -> None:
    """Fill in a benchmark's group and ``extra_info`` as the report reads them, after it ran.

    In-process micro-benchmarks call it with the fixture alone; seconds come from its statistics then.
    Further `facts` that the report knows: ``durability``, ``codec``, ``page_cache``, ``load``; ``unfair``, a
    sentence on what to hold against the comparison; ``note``, how the group's figures come about;
    ``limit_percent`` and ``limit``, how near the machine's
    own limit it comes and which that is; for scaling, ``x`` with ``x_label`` and ``series`` (one entry per
    point) or ``points`` (pairs of x and seconds in one entry), and ``slope``, the fitted exponent.
    """
    import statistics

    from benchmarks import machine, targets

    info = benchmark.extra_info
    benchmark.group = group
    if benchmark.stats is not None:
        benchmark.stats.group = group
    if seconds is None:
        seconds = list(benchmark.stats.stats.data) if benchmark.stats is not None else []
    if seconds and value is None:
        median = statistics.median(seconds)
        info["rate"] = rows / median
        value = figure(unit, rows, median)
    libraries = {need: version_of(need) for need in requires if ":" not in need}
    info.update(
        {
            **facts,
            "group": group,
            "contender": contender,
            "rows": rows,
            "unit": unit,
            "value": value,
            "versions": {"segue": version_of("segue"), **libraries},
            "commit": machine.commit(),
        }
    )
    info.setdefault("scale", None)
    info["targets"] = [
        {"id": row.id, "goal": row.goal_text(), "budget": row.budget}
        for row in targets.TARGETS
        if row.group == group
    ]


def figure(unit: str, rows: int, seconds: float) -> float:
    """Return the figure of a unit that follows from rows and seconds."""
    if unit == "rows/s":
        return rows / seconds
    if unit in SECONDS:
        return seconds * SECONDS[unit]
    time_unit, _, per = unit.partition("/")
    if per == "row" and time_unit in SECONDS:
        return seconds * SECONDS[time_unit] / rows
    raise ValueError(f"unit {unit!r} needs value=..., the name of a figure in Outcome.extra")


def histogram(latencies: Sequence[float]) -> dict[str, list[float]]:
    """Counts of latencies (seconds) in eighths of powers of two: ``{"upper_ms": [...], "count": [...]}``."""
    counts: dict[int, int] = {}
    for latency in latencies:
        bucket = math.ceil(8 * math.log2(max(latency, 1e-7) * 1e3))
        counts[bucket] = counts.get(bucket, 0) + 1
    return {"upper_ms": [2 ** (b / 8) for b in sorted(counts)], "count": [counts[b] for b in sorted(counts)]}


def percentiles(latencies: Sequence[float], prefix: str = "") -> dict[str, float]:
    """Return p50, p99, p99.9 and the worst of latencies (seconds), in milliseconds."""
    ordered = sorted(latencies)
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}
    found = {
        name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in shares.items()
    }
    found["worst_ms"] = ordered[-1]
    return {prefix + name: seconds * 1e3 for name, seconds in found.items()}


def thin(latencies: Sequence[float], most: int = 500) -> list[float]:
    """Return quantiles, the extremes among them, so that thousands of latencies need not all be kept."""
    ordered = sorted(latencies)
    if len(ordered) <= most:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / (most - 1))] for i in range(most)]


def warm(params: Mapping[str, Any]) -> None:
    """Read the files that params name once, so that whoever comes first finds them in the page cache too."""
    for value in params.values():
        if isinstance(value, str) and os.path.isabs(value) and os.path.isfile(value):
            with open(value, "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


@functools.cache
def version_of(distribution: str) -> str | None:
    """Version of an installed distribution, or None."""
    import importlib.metadata

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _nursery() -> Nursery:
    paths = [
        str(ROOT),
        *(str(Path(p).resolve()) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p),
    ]
    nursery = Nursery({**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"})
    atexit.register(nursery.close)
    return nursery


def _pools(params: Mapping[str, Any]) -> dict[str, str]:
    """Environment of a contender: the threads that libraries may start."""
    threads = str(params.get("threads", os.cpu_count() or 1))
    return dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS"), threads)


def _merge(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return medians of numbers, the largest of what is named worst, and the last of anything else."""
    import statistics

    merged: dict[str, Any] = {}
    for name in {name: None for entry in entries for name in entry}:
        values = [entry[name] for entry in entries if entry.get(name) is not None]
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        if values and numbers:
            merged[name] = max(values) if name.startswith("worst") else statistics.median(values)
        else:
            merged[name] = values[-1] if values else None
    return merged
