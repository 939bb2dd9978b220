"""One plot of all kernels: a dot for each figure, how near it comes to the machine's limit."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report.kernels import titled
from benchmarks.report.plots import SERIES, Plot, save
from benchmarks.report.results import Entry, Results


def draw(results: Results, directory: Path) -> list[Plot]:
    """Draw into `directory`, if any kernel was measured."""
    groups = {
        title: [e for e in results.entries if e.group == group and e.figure("limit_percent")]
        for group, title in titled(results)
    }
    groups = {title: entries for title, entries in groups.items() if entries}
    if not groups:
        return []
    _dots(groups, directory / "kernels.svg")
    return [Plot("kernels", "kernels.svg", "How near each kernel comes to the machine's limit")]


def _dots(groups: dict[str, list[Entry]], file: Path) -> None:
    import matplotlib.pyplot as plt

    isas = dict.fromkeys(str(e.info.get("isa")) for entries in groups.values() for e in entries)
    figure, axis = plt.subplots(figsize=(8, 0.7 + 0.3 * len(groups)), layout="constrained")
    for isa, colour in zip(isas, SERIES, strict=False):
        dots = [
            (entry.figure("limit_percent"), place)
            for place, entries in enumerate(groups.values())
            for entry in entries
            if str(entry.info.get("isa")) == isa
        ]
        axis.scatter(*zip(*dots, strict=True), s=22, color=colour, label=isa, alpha=0.7)
    axis.axvline(100, color="#334155", linestyle="--", linewidth=1)
    axis.set_xscale("log")
    axis.set_yticks(range(len(groups)), list(groups))
    axis.invert_yaxis()
    axis.set_xlabel("% of what memory or disk allow; a dot a variant")
    axis.grid(axis="both", alpha=0.2)
    axis.legend(frameon=False, fontsize=8, loc="lower left")
    save(figure, file)
