"""Streams of facts, made and counted."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from benchmarks.harness import Outcome, Timer


def made(work: Path, params: dict[str, Any]) -> Outcome:
    """All rows of a stream as they come, what it prepares before the first one included."""
    from segue import datagen

    timer = Timer(reset_peaks=True)
    rows = 0
    with timer:
        for batch in datagen.facts(params["rows"], threads=params["threads"]):
            rows += batch.num_rows
    last = hashlib.blake2b(repr(batch.slice(batch.num_rows - 100).to_pylist()).encode(), digest_size=8)
    return Outcome(timer.seconds, rows, f"{rows} {last.hexdigest()}")
