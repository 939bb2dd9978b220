"""Plots as SVG: bars with peers, latency histograms, scaling curves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report.results import Entry, Results
from benchmarks.report.verdict import Verdict, judge_all
from benchmarks.targets import quantity

OURS, THEIRS, GOAL = "#c2410c", "#94a3b8", "#334155"
SERIES = ("#c2410c", "#2563eb", "#059669", "#7c3aed", "#b45309", "#64748b", "#db2777", "#0891b2")


@dataclass(frozen=True)
class Plot:
    act: str
    file: str
    caption: str


def draw(results: Results, directory: Path) -> list[Plot]:
    """Write all plots that the results allow into `directory`; others of an earlier report are removed."""
    import matplotlib as mpl

    mpl.use("Agg")
    # The same results give the same files: ids from a salt, no date.
    mpl.rcParams.update(
        {"svg.hashsalt": "segue", "svg.fonttype": "none", "font.size": 9, "axes.grid.axis": "x"}
    )
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.svg"):
        old.unlink()
    verdicts = judge_all(results)
    plots = []
    for act in ("events", "pipeline", "query", "journey"):
        if _bars([v for v in verdicts if v.target.act == act and v.peers], directory / f"{act}.svg"):
            plots.append(Plot(act, f"{act}.svg", f"Segue and peers, {act}; the dashed line is the target"))
    for group in results.groups():
        entries = [e for e in results.group(group).values() if e.info.get("histogram")]
        if entries and "/absent" not in group:
            file = group.replace("/", "-") + ".svg"
            _histogram(entries, directory / file)
            plots.append(Plot(group.split("/")[0], file, f"Latency in {group}"))
    for group in results.groups("scaling/"):
        series = _series(results, group)
        if series:
            file = group.replace("/", "-") + ".svg"
            _curves(results, group, series, directory / file)
            plots.append(Plot("scaling", file, f"{group}, double logarithmic"))
    return plots


def _bars(verdicts: list[Verdict], file: Path) -> bool:
    """One panel per row: bars for ours and the peers', the absolute goal as a line."""
    import matplotlib.pyplot as plt

    if not verdicts:
        return False
    heights = [0.28 * (1 + len(v.peers)) + 0.7 for v in verdicts]
    figure, axes = plt.subplots(
        len(verdicts), figsize=(8, sum(heights)), squeeze=False, height_ratios=heights, layout="constrained"
    )
    for axis, verdict in zip(axes[:, 0], verdicts, strict=True):
        target = verdict.target
        names = [target.contender, *(peer.name for peer in verdict.peers)]
        values = [verdict.ours or 0.0, *(peer.figure for peer in verdict.peers)]
        axis.barh(names, values, color=[OURS] + [THEIRS] * len(verdict.peers), height=0.7)
        axis.invert_yaxis()
        for place, value in enumerate(values):
            axis.annotate(
                quantity(value, target.unit), (value, place), (3, 0), textcoords="offset points", va="center"
            )
        for goal in target.goals:
            if goal.bound is not None and goal.per_rows is None and goal.bound < 1.5 * max(values):
                axis.axvline(goal.bound, color=GOAL, linestyle="--", linewidth=1)
        axis.set_xlim(0, max(values) * 1.22 or 1)
        axis.set_xticks([])
        axis.set_title(f"{target.title} ({target.better} is better)", loc="left", fontsize=9)
        for side in ("top", "right", "bottom"):
            axis.spines[side].set_visible(False)
    save(figure, file)
    return True


def _histogram(entries: list[Entry], file: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
    for entry, colour in zip(entries, SERIES, strict=False):
        histogram = entry.info["histogram"]
        total = sum(histogram["count"])
        axis.stairs(
            [count / total for count in _filled(histogram)],
            _edges(histogram),
            label=f"{entry.contender}: {_percentiles(entry)}",
            color=colour,
            linewidth=1.5,
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("latency, ms")
    axis.set_ylabel("share")
    axis.legend(frameon=False, fontsize=8)
    axis.set_title(entries[0].group, loc="left", fontsize=9)
    save(figure, file)


def _indices(histogram: dict[str, Any]) -> list[int]:
    return [round(8 * math.log2(upper)) for upper in histogram["upper_ms"]]


def _filled(histogram: dict[str, Any]) -> list[int]:
    """Counts of all buckets between the first and the last, the empty ones too."""
    indices = _indices(histogram)
    counts = dict(zip(indices, histogram["count"], strict=True))
    return [counts.get(index, 0) for index in range(indices[0], indices[-1] + 1)]


def _edges(histogram: dict[str, Any]) -> list[float]:
    indices = _indices(histogram)
    return [2 ** (index / 8) for index in range(indices[0] - 1, indices[-1] + 1)]


def _percentiles(entry: Entry) -> str:
    names = {"p50": "p50_ms", "p99": "p99_ms", "worst": "worst_ms"}
    found = {name: entry.figure(figure) for name, figure in names.items()}
    return ", ".join(f"{name} {quantity(value, 'ms')}" for name, value in found.items() if value is not None)


def _series(results: Results, group: str) -> dict[str, list[tuple[float, float]]]:
    """Points of a scaling group: entries with `x` and a value, or entries that hold their `points`."""
    series: dict[str, list[tuple[float, float]]] = {}
    for entry in (e for e in results.entries if e.group == group):
        for x, y in _points(entry):
            series.setdefault(str(entry.info.get("series", entry.contender)), []).append((x, y))
    return {name: sorted(points) for name, points in series.items() if len(points) > 1}


def _points(entry: Entry) -> Iterator[tuple[float, float]]:
    for x, y in entry.info.get("points", ()):
        yield float(x), float(y)
    x, y = entry.figure("x"), entry.stats["median"]
    if x is not None and "points" not in entry.info:
        yield x, y


def _tick(x: float, label: str) -> str:
    if label.startswith("bytes"):
        return quantity(x, "bytes")
    return f"{x:g}" if x < 10_000 else quantity(x, "")


def _curves(results: Results, group: str, series: dict[str, list[tuple[float, float]]], file: Path) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    entries = [e for e in results.entries if e.group == group]
    slopes = {str(e.info.get("series", e.contender)): e.figure("slope") for e in entries}
    figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
    for (name, points), colour in zip(series.items(), SERIES, strict=False):
        slope = slopes.get(name)
        label = name if slope is None else f"{name}, slope {slope:.2f}"
        axis.plot(*zip(*points, strict=True), marker="o", markersize=4, label=label, color=colour)
    axis.set_xscale("log")
    axis.set_yscale("log")
    label = str(entries[0].info.get("x_label", group.removeprefix("scaling/")))
    axis.set_xlabel(label)
    xs = sorted({x for points in series.values() for x, _ in points})
    ys = [y for points in series.values() for _, y in points]
    axis.set_xticks(xs, [_tick(x, label) for x in xs])
    axis.set_ylim(min(ys) / 1.5, max(max(ys) * 1.5, min(ys) * 10))  # what is flat looks flat
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(lambda y, _: quantity(y, "s"))
    for ticks in (axis.xaxis, axis.yaxis):
        ticks.set_minor_locator(NullLocator())
    axis.grid(axis="both", alpha=0.2)
    axis.legend(frameon=False, fontsize=8)
    axis.set_title(group, loc="left", fontsize=9)
    save(figure, file)


def save(figure: Any, file: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
