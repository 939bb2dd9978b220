"""Runs one contender once in a process of its own and prints one line of JSON.

``python -m benchmarks.child module:function '{"work": DIRECTORY, "params": {...}}'``. What the contender
prints goes to standard error, so that the line stands alone.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks import harness, meter


def main(function: str, request: str) -> int:
    asked = json.loads(request)
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, _, name = function.partition(":")
    run = getattr(importlib.import_module(module), name)
    with meter.Meter() as metered:
        outcome = run(Path(asked["work"]), asked["params"])
    if not isinstance(outcome, harness.Outcome):
        raise TypeError(f"{function} returned {type(outcome).__name__}, not a benchmarks.harness.Outcome")
    answer.write(json.dumps(asdict(outcome) | {"usage": metered.usage()}) + "\n")
    answer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
