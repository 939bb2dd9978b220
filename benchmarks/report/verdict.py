"""Whether a target is reached, judged from the results alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.report.results import Entry, Results
from benchmarks.targets import TARGETS, Goal, Target, quantity

TOLERANCE = 0.05
"""Within which a figure equals its bound."""


@dataclass(frozen=True)
class Peer:
    """A peer's figure for a target; `better` says how many times better than it we are."""

    name: str
    figure: float
    better: float
    limit: bool = False
    """Not a peer but what nobody can beat; shown, not counted."""


@dataclass(frozen=True)
class Verdict:
    target: Target
    ours: float | None
    entry: Entry | None
    peers: tuple[Peer, ...] = ()
    reached: bool | None = None
    """None where nothing was measured, or no goal is set."""
    unknown: tuple[str, ...] = ()
    """Goals that could not be judged, as their peer was not measured."""

    @property
    def text(self) -> str:
        if self.ours is None:
            return "not measured"
        if self.reached is None:
            return "reported" if not self.target.goals else "not judged: " + "; ".join(self.unknown)
        said = "*reached*" if self.reached else "*not reached*"
        return said + (f" ({'; '.join(self.unknown)})" if self.unknown else "")

    @property
    def best_peer(self) -> Peer | None:
        return min((p for p in self.peers if not p.limit), key=lambda peer: peer.better, default=None)


def judge_all(results: Results) -> list[Verdict]:
    """Return a verdict for every target, in their order."""
    return [judge(target, results) for target in TARGETS]


def judge(target: Target, results: Results) -> Verdict:
    if target.speedup_over:
        ours = _mean_speedup(target, results)
        return _with_goals(target, ours, None, (), results)
    entry = results.find(target.group, target.contender)
    ours = None if entry is None else entry.figure(target.figure)
    return _with_goals(target, ours, entry, _peers(target, ours, results), results)


def _with_goals(
    target: Target, ours: float | None, entry: Entry | None, peers: tuple[Peer, ...], results: Results
) -> Verdict:
    if ours is None:
        return Verdict(target, None, None)
    outcomes = [(goal, _holds(goal, target, ours, entry, results)) for goal in target.goals]
    unknown = tuple(f"{goal.of} not measured" for goal, outcome in outcomes if outcome is None)
    known = [outcome for _, outcome in outcomes if outcome is not None]
    reached = all(known) if known else None
    return Verdict(target, ours, entry, peers, reached, unknown)


def _holds(goal: Goal, target: Target, ours: float, entry: Entry | None, results: Results) -> bool | None:
    bound = _bound(goal, target, entry, results)
    if bound is None:
        holds = None
    elif target.better == "equal":
        holds = abs(ours - bound) <= TOLERANCE * abs(bound)
    elif target.better == "higher":
        holds = ours > bound if goal.strict else ours >= bound
    else:
        holds = ours < bound if goal.strict else ours <= bound
    if not holds and goal.otherwise is not None:
        other = _holds(goal.otherwise, target, ours, entry, results)
        return other if holds is None else holds or bool(other)
    return holds


def _bound(goal: Goal, target: Target, entry: Entry | None, results: Results) -> float | None:
    if goal.bound is not None:
        rows = entry.figure("rows") if entry is not None else None
        if goal.per_rows is not None and rows:
            return goal.bound * rows / goal.per_rows
        return goal.bound
    group, _, name = goal.of.rpartition(":")
    other = results.find(group or target.group, name)
    figure = None if other is None else other.figure(target.figure)
    return None if figure is None or goal.times is None else goal.times * figure


def _peers(target: Target, ours: float | None, results: Results) -> tuple[Peer, ...]:
    if ours is None or target.better == "equal":
        return ()
    found = []
    for name, entry in results.group(target.group).items():
        theirs = entry.figure(target.figure)
        if name != target.contender and theirs is not None:
            better = times_better(target.better, ours, theirs)
            found.append(Peer(name, theirs, better, entry.info.get("role") == "limit"))
    return tuple(found)


def times_better(better: str, ours: float, theirs: float) -> float:
    """How many times better `ours` is: more of what should be high, less of what should be low."""
    over, under = (ours, theirs) if better == "higher" else (theirs, ours)
    return over / under if under else math.inf


def _mean_speedup(target: Target, results: Results) -> float | None:
    logs = []
    for group in results.groups(target.group):
        ours, theirs = results.find(group, target.contender), results.find(group, target.speedup_over)
        if ours is None or theirs is None:
            continue
        mine, other = ours.figure(), theirs.figure()
        if mine and other:
            logs.append(math.log(other / mine))
    return math.exp(sum(logs) / len(logs)) if logs else None


def shown(verdict: Verdict) -> str:
    """Our figure for people."""
    return "" if verdict.ours is None else quantity(verdict.ours, verdict.target.unit)
