"""Contenders for the tests of the harness; each child process imports them anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.harness import Outcome, Timer


def counting(work: Path, params: dict[str, Any]) -> Outcome:
    """Notes that it ran in the file that all contenders share."""
    print("contenders may print")
    (work / "scratch").write_text("removed afterwards")
    with open(params["log"], "a", encoding="utf-8") as log:
        log.write(f"{params['name']}\n")
    timer = Timer()
    for _ in range(2):
        with timer:
            sum(range(10_000))
    return Outcome(timer.seconds, rows=10_000, digest=params.get("digest", "same"), extra={"work": str(work)})


def failing(work: Path, params: dict[str, Any]) -> Outcome:
    raise RuntimeError("the disk is on fire")


def hungry(work: Path, params: dict[str, Any]) -> Outcome:
    """Takes 256 MiB before the measured part and 64 MiB within it, and writes 8 MiB."""
    setup = bytearray(b"x") * (256 << 20)
    size = len(setup)
    del setup
    timer = Timer(reset_peaks=True)
    with timer:
        measured = bytearray(b"x") * (64 << 20)
        (work / "out").write_bytes(measured[: 8 << 20])
        total = sum(range(3_000_000))
    assert size
    assert total
    return Outcome(timer.seconds, rows=1, digest="hungry", extra={"kept": len(measured)})
