"""Recovery: a writer is killed with all its events in the log, and the store is opened again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import workloads
from benchmarks.events.encoding import Dictionaries, Digest
from benchmarks.events.stores import open_store
from benchmarks.harness import Outcome, Timer

BATCH_ROWS = 1000


def reopen(work: Path, params: dict[str, Any]) -> Outcome:
    """Time opening the store of a killed writer, until every event can be read."""
    arguments = [params["store"], str(work / "db"), params["events"], str(params["rows"])]
    command = [sys.executable, "-m", "benchmarks.events.recovery", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != -signal.SIGKILL:
        raise AssertionError(f"the writer was to be killed, and ended with {done.returncode}: {done.stderr}")
    dictionaries = Dictionaries(workloads.load(params["events"]))
    with open_store(params["store"], work / "warm", "os", dictionaries):
        pass  # the store's modules are loaded: what follows is recovery alone
    timer = Timer(reset_peaks=True)
    with timer:
        opened = open_store(params["store"], work / "db", "os", dictionaries)
    with opened as store:
        digest = Digest()
        store.add_to(digest)
    return Outcome(timer.seconds, digest.rows, str(digest), json.loads(done.stdout))


def write_and_die(name: str, directory: str, events: str, rows: str) -> None:
    table = workloads.load(events)
    with open_store(name, Path(directory), "os", Dictionaries(table)) as store:
        for number, batch in enumerate(workloads.batches(table.slice(0, int(rows)), BATCH_ROWS)):
            store.append_batch(batch, number * BATCH_ROWS)
        print(json.dumps(store.counters()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    write_and_die(*sys.argv[1:])
