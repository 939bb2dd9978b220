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
    # One goal that fails decides; that the others hold decides nothing while one is not known.
    reached = False if False in known else None if unknown or not known else True
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
    if not holds and goal.otherwise is not None and _misses(goal.otherwise.of, goal, target, results):
        return _holds(goal.otherwise, target, ours, entry, results)
    return holds


def _misses(contender: str, goal: Goal, target: Target, results: Results) -> bool:
    """Whether another contender misses an absolute goal as well: then it is the machine that does."""
    other = results.find(target.group, contender)
    figure = None if other is None else other.figure(target.figure)
    if figure is None or goal.bound is None:
        return False
    return figure < goal.bound if target.better == "higher" else figure >= goal.bound


def _bound(goal: Goal, target: Target, entry: Entry | None, results: Results) -> float | None:
    if goal.bound is not None:
        rows = entry.figure("rows") if entry is not None else None
        if goal.per_rows is not None and rows:
            return goal.bound * rows / goal.per_rows
        return goal.bound
    group, _, name = goal.of.rpartition(":")
    other = results.find(group or target.group, name)
    if other is not None and entry is not None and group and not _comparable(entry, other):
        return None
    figure = None if other is None else other.figure(target.figure)
    return None if figure is None or goal.times is None else goal.times * figure


def _comparable(one: Entry, other: Entry) -> bool:
    """Entries of two groups: of one run, over as many rows."""
    return one.run == other.run and one.figure("rows") == other.figure("rows")


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
        mine, other = ours and ours.figure(), theirs and theirs.figure()
        if not mine or not other:
            return None  # a mean over those that happened to be measured means nothing
        logs.append(math.log(other / mine))
    return math.exp(sum(logs) / len(logs)) if logs else None


def shown(verdict: Verdict) -> str:
    """Our figure for people."""
    return "" if verdict.ours is None else quantity(verdict.ours, verdict.target.unit)
