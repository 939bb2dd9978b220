"""Results as the report sees them: one entry per contender of a group, from one or several JSON files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCALES = ("small", "medium", "large")


@dataclass(frozen=True)
class Entry:
    """One contender's samples in one group."""

    group: str
    contender: str
    info: Mapping[str, Any]
    """``extra_info`` as :func:`benchmarks.harness.annotate` fills it in."""
    stats: Mapping[str, Any]
    run: int
    """Which of the runs (files) it comes from."""
    test: str = ""
    """Its test without parameters: ``benchmarks/events/test_reads.py::test_last_50_of_a_user``."""

    def figure(self, name: str = "value") -> float | None:
        """Return a number of ``extra_info``, or None where it was not measured."""
        value = self.info.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    @property
    def command(self) -> str:
        """What measures the group again, and little else; empty where that is not known."""
        scale = self.info.get("scale")
        return f"pytest {self.test}" + (f" --scale {scale}" if scale else "") if self.test else ""

    @property
    def unit(self) -> str:
        return str(self.info.get("unit", "s"))


@dataclass
class Results:
    """Entries by group, in the order of the files, and what each file says of its run."""

    entries: list[Entry] = field(default_factory=list)
    runs: list[Mapping[str, Any]] = field(default_factory=list)

    def group(self, name: str) -> dict[str, Entry]:
        """Contenders of a group by name; of one with several (scaling), the last stands."""
        return {entry.contender: entry for entry in self.entries if entry.group == name}

    def find(self, group: str, contender: str) -> Entry | None:
        return self.group(group).get(contender)

    def groups(self, prefix: str = "") -> list[str]:
        """Names of the groups that start with `prefix`, in order."""
        return list(dict.fromkeys(entry.group for entry in self.entries if entry.group.startswith(prefix)))

    @property
    def skipped(self) -> list[str]:
        """Contenders that were not measured, and why."""
        return sorted({reason for run in self.runs for reason in run.get("segue", {}).get("skipped", [])})


def load(paths: Iterable[Path]) -> Results:
    """Read result files. A group that several have is taken from the largest scale, of equal ones the last.

    A group never mixes runs, nor scales: contenders are comparable within one only.
    """
    found = Results()
    best: dict[str, tuple[int, int]] = {}
    entries: list[tuple[Entry, tuple[int, int]]] = []
    for run, path in enumerate(paths):
        data = json.loads(path.read_text(encoding="utf-8"))
        found.runs.append(data)
        for bench in data["benchmarks"]:
            info = bench.get("extra_info", {})
            group = info.get("group") or bench.get("group")
            if not group:
                continue  # a benchmark that says nothing of itself cannot be placed
            scale = info.get("scale")
            rank = (SCALES.index(scale) if scale in SCALES else -1, run)
            best[group] = max(best.get(group, rank), rank)
            name = info.get("contender") or bench.get("param") or bench["name"]
            test = str(bench.get("fullname", "")).partition("[")[0]
            entries.append((Entry(group, name, info, bench["stats"], run, test), rank))
    found.entries = [entry for entry, rank in entries if rank == best[entry.group]]
    return found
