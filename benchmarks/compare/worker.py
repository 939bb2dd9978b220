"""A process that measures one row of one side, a sample each time it is told to.

``python -m benchmarks.compare.worker REQUEST``, with PYTHONPATH naming the side's package. One line of JSON
goes out when it is ready (after one sample that does not count, which warms it), and one for each line that
comes in: seconds and a digest of the output. What libraries print goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any


def main(request: str) -> int:
    asked = json.loads(request)
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    import segue

    expected = Path(asked["package"]) / "segue"
    if Path(segue.__file__).resolve().parent != expected.resolve():
        raise RuntimeError(f"segue comes from {segue.__file__}, not from {expected}")
    from benchmarks.compare import headline, rows

    def say(**what: Any) -> None:
        answer.write(json.dumps(what) + "\n")
        answer.flush()

    if "row" not in asked:
        say(inputs=rows.make_inputs())
        return 0
    row = next(row for row in headline.ROWS if row.name == asked["row"])
    with tempfile.TemporaryDirectory(prefix="segue-compare-", dir=asked["scratch"]) as work:
        inputs = rows.Inputs(asked["inputs"], Path(asked["scratch"]) / "side", Path(work))
        with closing(getattr(rows, row.function)(inputs, **row.arguments)) as samples:
            next(samples)
            say(ready=True)
            for _ in sys.stdin:
                gc.collect()
                seconds, digest = next(samples)
                say(seconds=seconds, digest=digest)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
