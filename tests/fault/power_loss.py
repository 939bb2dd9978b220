"""Workloads that a disk ends early, and which file systems a crash may leave, for tests that try them all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from segue.errors import Error


def finishes(workload: Any) -> bool:
    """Whether ``workload.run()`` meets no error; its table is closed either way."""
    try:
        workload.run()
    except (Error, OSError):
        return False
    finally:
        if workload.events is not None:
            with contextlib.suppress(Error, OSError):  # the disk is dead: closing may say so, not hang
                workload.events.close()
    return True


def left_by_crash(env: Any, at: int, keep: str, seeds: int) -> Iterator[Any]:
    """File systems after the crash at operation `at`: one where nothing is left to chance, else several.

    A crash within stores into a mapping, or a write into one, leaves some of their words whatever else is
    kept; so does a process that is killed.
    """
    torn = env.op(at).startswith(("store ", "write "))
    by_chance = keep == "random" or (keep == "all" and torn)
    for seed in range(seeds if by_chance else 1):
        # Other chances at another place.
        yield env.crash(keep, seed + 1000 * at)
