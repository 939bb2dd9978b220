"""Starts the processes of contenders, as forks of one process that has imported what all of them import.

Starting Python and importing Arrow takes half a second, and a session has a hundred contenders. The forks
have memory, counters and threads of their own from the start, as processes that were started anew; engines
are imported in them alone. Used by :func:`benchmarks.harness.run_child`; ``benchmarks.child`` is the way to
run one contender by hand.

Thread safety: one call of :meth:`Nursery.run` at a time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Nursery:
    """The process that forks; ends with :meth:`close` or with this one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # BLAS is not measured, and its threads would be there before each fork.
            env={**environment, "OPENBLAS_NUM_THREADS": "1"},
        )

    def run(self, function: str, request: str, environment: Mapping[str, str], said: Path) -> int:
        """Run ``benchmarks.child.main(function, request)`` in a fork; its exit code, negative for a signal.

        What it prints is in the files ``stdout`` and ``stderr`` of the folder `said`.
        """
        asked = {
            "function": function,
            "request": request,
            "environment": dict(environment),
            "said": str(said),
        }
        pipes = self._process
        if pipes.stdin is None or pipes.stdout is None:
            raise RuntimeError("the nursery was closed")
        pipes.stdin.write(json.dumps(asked).encode() + b"\n")
        pipes.stdin.flush()
        answer = pipes.stdout.readline()
        if not answer:
            raise RuntimeError(f"benchmarks.nursery, which forks all contenders, ended with {pipes.wait()}")
        return int(answer)

    def close(self) -> None:
        """End the process, which is idle."""
        with self._process:  # closes its pipes, and waits
            pass


def serve() -> dict[str, Any] | None:
    """Fork for each line of standard input and say how it ended; in a fork, return what it is to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the session and for the contender
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            asked: dict[str, Any] = json.loads(line)
            return asked
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def main() -> int:
    import pyarrow.ipc  # noqa: F401 - for the forks

    from benchmarks import child

    asked = serve()
    if asked is None:
        return 0
    os.environ.update(asked["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(asked["said"], name), os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    return child.main(asked["function"], asked["request"])


if __name__ == "__main__":
    sys.exit(main())
