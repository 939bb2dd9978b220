"""Whether one side is slower than the other, from paired ratios; exact and free of distributions.

A round starts a process of each side and alternates them; its ratio is the median of its pairs, so that
what a process has for its whole life (where its memory lies) counts once a round. Over the rounds the median
ratio is bounded by order statistics, as in the sign test: the k-th smallest of n ratios lies above the true
median with probability P(B < k), B binomial(n, 1/2), whatever the ratios' distribution. A row is slower if
that bound says so *and* the median exceeds a least effect: what is certain but small does not fail a build.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

EFFECT = 0.10
LEVEL = 0.95
LEAST_ROUNDS = 5
"""With fewer not even the smallest ratio bounds the median at 95 %; from 8 on one odd round does no harm."""


@dataclass(frozen=True)
class Comparison:
    """Head's seconds over base's: the median of the rounds, and bounds of it, each at `LEVEL`."""

    ratio: float
    low: float
    high: float
    verdict: str
    """``slower``, ``faster`` or ``same``."""


def round_ratio(base: Sequence[float], head: Sequence[float]) -> float:
    """Median of a round's paired ratios, head over base."""
    return statistics.median(h / b for b, h in zip(base, head, strict=True))


def bound_rank(n: int, level: float = LEVEL) -> int:
    """Largest k for which the k-th smallest of n values is at most their true median with `level`.

    Raises
    ------
    ValueError
        Even the smallest is not, with so few.
    """
    rank, above = 0, 1  # ways for fewer than k of n to lie below the median, out of 2**n
    while above <= (1 - level) * 2**n:
        rank += 1
        above += math.comb(n, rank)
    if rank == 0:
        raise ValueError(f"{n} rounds cannot bound a median at {level:.0%}; {LEAST_ROUNDS} can")
    return rank


def judge(ratios: Sequence[float], effect: float = EFFECT, level: float = LEVEL) -> Comparison:
    """Compare over rounds, given one ratio (head over base) each."""
    ordered = sorted(ratios)
    rank = bound_rank(len(ordered), level)
    ratio, low, high = statistics.median(ordered), ordered[rank - 1], ordered[-rank]
    if low > 1 and ratio >= 1 + effect:
        verdict = "slower"
    elif high < 1 and ratio <= 1 / (1 + effect):
        verdict = "faster"
    else:
        verdict = "same"
    return Comparison(ratio, low, high, verdict)
