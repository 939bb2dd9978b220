"""The page in Markdown. Every figure comes from the results; what was not measured says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from benchmarks.report import kernels
from benchmarks.report.markdown import duration, spread, table
from benchmarks.report.plots import Plot
from benchmarks.report.results import Entry, Results
from benchmarks.report.verdict import Verdict, judge_all, shown, times_better
from benchmarks.targets import TARGETS, quantity

INTRODUCTION = """\
Made by `python -m benchmarks.report` from results of pytest-benchmark; not edited by hand. Only ratios within
one run on one machine count: contenders take turns, each in a process of its own, and their outputs are
checked to be equal. Figures are medians of the rounds, but for a worst wait and memory, of which the largest
counts; memory is the peak of anonymous pages, mapped file pages stand apart; a spread is the least and the
most of the samples.
"""

ONE_ROUND = """\
Measured in a single round: each contender had one turn, so that a spread is that of samples within it, and
figures near a bound may fall on its other side the next time; a row that needs several rounds says so.
"""

SCALES = {
    "small": "where start-up and caches weigh much",
    "medium": "on fewer rows than the targets are set for, which scale large has",
}
"""What to hold against figures of a scale."""

ACTS = {
    "events": "Act 1: ingest",
    "pipeline": "Act 2: the nightly job",
    "query": "Act 3: dashboard queries",
    "journey": "The whole journey",
    "data": "Test data",
}
_TARGET_GROUPS = {target.group for target in TARGETS}


def render(results: Results, plots: Sequence[Plot], directory: str) -> str:
    """Return the page; plots are linked in `directory` beside it."""
    verdicts = judge_all(results)
    images = {act: _images(plots, act, directory) for act in (*ACTS, "kernels", "scaling")}
    parts = [
        "# Benchmarks\n",
        INTRODUCTION,
        ONE_ROUND if any(run.get("segue", {}).get("rounds") == 1 for run in results.runs) else "",
        _summary(verdicts),
        _machine(results),
        _budgets(verdicts),
        *(_act(act, title, verdicts, results, images[act]) for act, title in ACTS.items()),
        kernels.section(results, images["kernels"]),
        _without_targets(results, "scaling", "Scaling", images["scaling"]),
        _unfair(results, verdicts),
        _commands(results),
    ]
    return "\n".join(part for part in parts if part)


def _summary(verdicts: Sequence[Verdict]) -> str:
    reached = sum(v.reached is True for v in verdicts)
    missed = sum(v.reached is False for v in verdicts)
    goals = sum(bool(v.target.goals) for v in verdicts)
    rest = goals - reached - missed
    counts = (
        f"**{reached} are reached, {missed} are not**, {rest} are not measured, or lack a peer to judge by"
    )
    return f"Of {goals} rows with a target {counts}; {len(verdicts) - goals} more are reported.\n"


def _machine(results: Results) -> str:
    lines = ["## Machine and versions\n"]
    for run in results.runs:
        about: dict[str, Any] = run.get("segue", {})
        facts: dict[str, Any] = about.get("machine", {})
        if not facts:
            continue
        versions = ", ".join(f"{name} {version}" for name, version in facts.get("versions", {}).items())
        lines.append(
            f"- {facts['cpu']}, {facts['cores']} cores, {quantity(facts['memory_bytes'], 'bytes')}, "
            f"{facts['kernel']}, {facts['file_system']}, Python {facts['python']}; {versions}."
        )
        lines += _limits(about.get("probes", {}))
        lines.append(
            f"- Scale {about.get('scale')}, {about.get('threads')} threads, {about.get('rounds')} rounds, "
            f"commit {about.get('commit')}, {str(run.get('datetime', ''))[:16]} UTC."
        )
    return "\n".join(lines) + "\n"


def _limits(probes: Mapping[str, float]) -> list[str]:
    if not probes:
        return []
    read, copied = probes["memory_read_bytes_per_second"], probes["memory_copy_bytes_per_second"]
    written, sync = probes["disk_write_bytes_per_second"], probes["disk_sync_seconds_p50"] * 1e3
    worst = probes["disk_sync_seconds_max"] * 1e3
    memory = f"one core reads {quantity(read, 'B/s')} and copies {quantity(copied, 'B/s')}"
    if scattered := probes.get("memory_random_reads_per_second"):  # older results lack it
        memory += f", and makes {quantity(scattered, 'reads/s')} at random places beyond its caches"
    disk = f"the disk writes {quantity(written, 'B/s')} with a sync"
    latency = f"4 KiB `pwrite` + `fdatasync` takes {quantity(sync, 'ms')}, at worst {quantity(worst, 'ms')}"
    return [f"- Limits measured in the run: {memory}; {disk}; {latency}."]


def _budgets(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [v.target.title, v.target.budget, shown(v) or "not measured", _rows(v.entry)]
        for v in verdicts
        if v.target.budget
    ]
    said = (
        "The example behind the workloads is a music service with 8.6 billion plays a day: a play is "
        "acknowledged within 8 ms, a night's job has three hours (796 K rows/s), a dashboard two seconds.\n\n"
    )
    return "## The example's budgets\n\n" + said + table(["row", "the example allows", "Segue", "rows"], rows)


def _act(act: str, title: str, verdicts: Sequence[Verdict], results: Results, images: Sequence[str]) -> str:
    mine = [v for v in verdicts if v.target.act == act]
    rows = []
    for verdict in mine:
        target, peer = verdict.target, verdict.best_peer
        beside = "" if peer is None else f"{peer.name} {quantity(peer.figure, target.unit)}"
        ratio = "" if peer is None else _times(peer.better)
        goal = [target.goal_text() + _scaled(verdict), verdict.text]
        rows.append([target.title, shown(verdict), *goal, beside, ratio, _rows(verdict.entry)])
    header = ["row", "Segue", "must reach", "verdict", "best peer", "Segue better by", "rows"]
    parts = [f"## {title}\n", table(header, rows), *images]
    for group in dict.fromkeys([*(v.target.group for v in mine), *results.groups(f"{act}/")]):
        entries = results.group(group)
        if entries:
            parts.append(_group(group, entries, [v for v in mine if v.target.group == group]))
    parts.append(_options(act, results))
    return "\n".join(parts)


def _scaled(verdict: Verdict) -> str:
    """What a bound comes to for the rows measured, where it is for other rows."""
    rows = None if verdict.entry is None else verdict.entry.figure("rows")
    said = [
        f" (here {quantity(goal.bound * rows / goal.per_rows, verdict.target.unit)})"
        for goal in verdict.target.goals
        if goal.bound is not None and goal.per_rows is not None and rows and rows != goal.per_rows
    ]
    return "".join(said)


def _group(group: str, entries: dict[str, Entry], verdicts: Sequence[Verdict]) -> str:
    """All contenders of one group: figures, ratio, spread and what they used."""
    first = next(iter(entries.values()))
    # Heading -> figure, unit, which way is better.
    columns = {_heading(v.target.figure, v.target.unit): v.target for v in verdicts}
    figures = {h: (t.figure, t.unit, t.better) for h, t in columns.items()}
    if not figures:
        figures = {first.unit: ("value", first.unit, _direction(first.unit))}
    header = ["contender"]
    for heading in figures:
        header += [heading, "Segue better by"]
    header += ["spread", "memory", "mapped", "read", "written", "CPU"]
    ours = entries.get("segue")
    lines = []
    for name, entry in entries.items():
        line = [name]
        for figure, unit, better in figures.values():
            line += _beside(entry, ours, figure, unit, better)
        lines.append([*line, *_resources(entry)])
    title = (
        _title([v.target.title for v in verdicts]) or group.partition("/")[2].replace("-", " ").capitalize()
    )
    notes = f"`{group}`: {_conditions(first)}."
    reference = [
        f"{peer} {quantity(figure, v.target.unit)}"
        for v in verdicts
        for peer, figure in v.target.reference.items()
    ]
    if reference:
        notes += f" For reference, once, on another machine: {', '.join(reference)}."
    notes += "".join(f" {said}" for said in dict.fromkeys(_notes(entries.values())))
    if first.command:
        notes += f"\n\nAlone: `{first.command}`"
    return "\n".join([f"### {title}\n", notes + "\n", table(header, lines)])


def _title(titles: Sequence[str]) -> str:
    """Join titles; what they share up to a colon, a comma or the end of one is said once."""
    letters = takewhile(lambda at: len(set(at)) == 1, zip(*titles, strict=False))
    shared = "".join(at[0] for at in letters)
    if clause := re.match(r".*[:,] ", shared):
        shared = clause.group()
    elif any(title[len(shared) :][:1] not in ("", " ", ",", ":") for title in titles):
        shared = ""
    return "; ".join([*titles[:1], *(title.removeprefix(shared).lstrip(" ,:") for title in titles[1:])])


def _notes(entries: Iterable[Entry]) -> list[str]:
    return [str(entry.info["note"]) for entry in entries if entry.info.get("note")]


def _options(act: str, results: Results) -> str:
    """How the contenders of an act are set up, once for all groups in which it is the same."""
    said: dict[tuple[str, str], None] = {}
    for entry in results.entries:
        if entry.group.startswith(f"{act}/") and entry.info.get("options"):
            said[entry.contender, str(entry.info["options"])] = None
    lines = [f"- {name}: {options}." for name, options in said]
    return "### How they are set up\n\n" + "\n".join(lines) + "\n" if lines else ""


def _beside(entry: Entry, ours: Entry | None, figure: str, unit: str, better: str) -> list[str]:
    value = entry.figure(figure)
    mine = ours.figure(figure) if ours is not None else None
    if value is None:
        return ["", ""]
    if mine is None or ours is entry or better == "equal":
        return [quantity(value, unit), ""]
    return [quantity(value, unit), _times(times_better(better, mine, value))]


def _resources(entry: Entry) -> list[str]:
    cells = [spread(entry.stats)]
    for name in ("memory_anonymous", "memory_mapped", "read_bytes", "written_bytes"):
        value = entry.figure(name)
        cells.append("" if value is None else quantity(value, "bytes"))
    cpu = entry.figure("cpu_seconds")
    return [*cells, "" if cpu is None else duration(cpu)]


def _conditions(entry: Entry) -> str:
    info = entry.info
    rows = info.get("stored_rows") or info.get("rows")
    said = [quantity(rows, "rows")] if rows else []
    for name in ("scale", "threads", "durability", "codec", "page_cache", "load"):
        if info.get(name):
            said.append(f"{name.replace('_', ' ')} {info[name]}")
    return ", ".join(said)


def _without_targets(results: Results, act: str, title: str, images: Sequence[str]) -> str:
    """One line an entry, empty columns left out."""
    entries = [entry for entry in results.entries if entry.group.startswith(f"{act}/")]
    if not entries:
        return f"## {title}\n\nNot measured.\n"
    header = ["group", "variant", "at", "figure", "slope", "line", "spread"]
    rows = []
    for entry in entries:
        value, slope = entry.figure("value"), entry.figure("slope")
        rows.append(
            [
                entry.group.partition("/")[2],
                entry.contender,
                _at(entry),
                "" if value is None else quantity(value, entry.unit),
                "" if slope is None else f"{slope:.2f}",
                _line(entry),
                spread(entry.stats),
            ]
        )
    kept = [i for i in range(len(header)) if i < 2 or any(row[i] for row in rows)]
    lines = [[row[i] for i in kept] for row in rows]
    commands = dict.fromkeys(entry.command for entry in entries if entry.command)
    alone = f"Alone: {', '.join(f'`{command}`' for command in commands)}\n" if commands else ""
    return "\n".join([f"## {title}\n", *images, table([header[i] for i in kept], lines), alone])


def _at(entry: Entry) -> str:
    """Where on the curve: its range, or the one point of the entry."""
    label = str(entry.info.get("x_label", ""))
    unit, shown_label = ("bytes", label.removeprefix("bytes of ")) if "bytes" in label else ("", label)
    xs = [float(x) for x, _ in entry.info.get("points", ())] or [entry.figure("x")]
    ends = [x for x in dict.fromkeys((xs[0], xs[-1])) if x is not None]
    said = " to ".join(f"{x:g}" if not unit and x < 10_000 else quantity(x, unit) for x in ends)
    return f"{said} {shown_label}" if said else ""


def _line(entry: Entry) -> str:
    """Fixed cost and cost of each unit, where a line was fitted."""
    fixed, unit = entry.figure("fixed_seconds"), entry.figure("seconds_per_unit")
    if fixed is None or unit is None:
        return ""
    return f"{duration(fixed)} + {duration(unit)} each"


def _unfair(results: Results, verdicts: Sequence[Verdict]) -> str:
    parts = ["## What is not fair, and where peers win\n"]
    wins = _target_wins(verdicts) + _other_wins(results)
    if wins:
        parts.append("Peers are better in these rows:\n\n" + "\n".join(wins) + "\n")
    else:
        parts.append("No peer was better in a row that was measured.\n")
    notes = _said_unfair(results)
    notes += _differences(results)
    for scale, caveat in SCALES.items():
        those = [
            e.group for e in results.entries if e.info.get("scale") == scale and e.group in _TARGET_GROUPS
        ]
        if those:
            groups = ", ".join(f"`{group}`" for group in dict.fromkeys(those))
            notes.append(f"- Scale {scale}, {caveat}: {groups}.")
    notes += [f"- Not measured: {reason}." for reason in results.skipped]
    if notes:
        parts.append("What to hold against the figures:\n\n" + "\n".join(notes) + "\n")
    return "\n".join(parts)


def _said_unfair(results: Results) -> list[str]:
    """What the suites themselves say, each sentence once with its groups."""
    groups: dict[str, dict[str, None]] = {}
    for entry in results.entries:
        if entry.info.get("unfair"):
            groups.setdefault(str(entry.info["unfair"]), {})[entry.group] = None
    return [f"- {', '.join(f'`{group}`' for group in named)}: {text}" for text, named in groups.items()]


def _differences(results: Results) -> list[str]:
    """Say in which conditions the contenders of a group differ, each difference once with its groups."""
    groups: dict[str, dict[str, None]] = {}
    for group in (group for group in results.groups() if group in _TARGET_GROUPS):
        entries = list(results.group(group).values())
        for name in ("durability", "threads", "codec", "page_cache", "rows"):
            values = {str(e.info[name]) for e in entries if e.info.get(name) is not None}
            if len(values) > 1:
                text = f"contenders differ in {name.replace('_', ' ')}: {'; '.join(sorted(values))}."
                groups.setdefault(text, {})[group] = None
    return [f"- {', '.join(f'`{group}`' for group in named)}: {text}" for text, named in groups.items()]


def _target_wins(verdicts: Sequence[Verdict]) -> list[str]:
    wins = []
    for verdict in verdicts:
        better = [p for p in sorted(verdict.peers, key=lambda p: p.better) if p.better < 1 and not p.limit]
        said = [f"{p.name} {quantity(p.figure, verdict.target.unit)}" for p in better]
        if better:
            times = _times(1 / better[0].better) if better[0].better else "infinitely"
            ours = f"Segue {shown(verdict)}, {better[0].name} {times} better"
            wins.append(f"- {verdict.target.title}: {', '.join(said)}; {ours}.")
    return wins


def _other_wins(results: Results) -> list[str]:
    """Groups without a target row in which a peer beats ours."""
    wins = []
    for group in results.groups():
        entries = results.group(group)
        ours = entries.get("segue")
        mine = ours.figure() if ours is not None else None
        if group in _TARGET_GROUPS or ours is None or mine is None:
            continue
        for name, entry in entries.items():
            theirs = entry.figure()
            if entry is ours or theirs is None or entry.info.get("role") == "limit":
                continue
            if times_better(_direction(ours.unit), mine, theirs) < 1:
                said = f"{name} {quantity(theirs, entry.unit)}, Segue {quantity(mine, ours.unit)}"
                wins.append(f"- `{group}`: {said}.")
    return wins


def _commands(results: Results) -> str:
    ran = [str(run["segue"]["command"]) for run in results.runs if run.get("segue", {}).get("command")]
    # Where somebody keeps files is nobody's business: the names do.
    plain = [re.sub(r"(?<=[\s=])/\S*/", "", command) for command in dict.fromkeys(ran)]
    lines = [
        "pip install '.[bench]'",
        *plain,
        "python -m benchmarks.report RESULTS.json -o docs/benchmarks.md",
    ]
    return "## Commands\n\n```\n" + "\n".join(lines) + "\n```\n"


def _images(plots: Sequence[Plot], act: str, directory: str) -> list[str]:
    return [f"![{plot.caption}]({directory}/{plot.file})\n" for plot in plots if plot.act == act]


def _direction(unit: str) -> str:
    """Which way is better, for a unit without a target row."""
    return "higher" if unit.endswith("/s") or unit == "x" else "lower"


def _heading(figure: str, unit: str) -> str:
    return unit if figure == "value" else figure.replace("_", " ").removesuffix(f" {unit}")


def _times(ratio: float) -> str:
    return f"{ratio:.0f} x" if ratio >= 100 else f"{ratio:.3g} x"


def _rows(entry: Entry | None) -> str:
    rows = None if entry is None else entry.figure("stored_rows") or entry.figure("rows")
    return "" if rows is None else quantity(rows, "")
