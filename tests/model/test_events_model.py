"""Any operations on an event table in any order, against a plain Python model (event_model.py).

Ten thousand and more from a seeded generator, over several schemas, durabilities and sizes; a failure prints
its seed and the shortest list of operations that still fails. And a state machine that hypothesis drives,
which looks at fewer and searches better. SEGUE_MODEL_SEED=N tries others, SEGUE_MODEL_ROUNDS=N more.
"""

from __future__ import annotations

import os
import pprint
import random
import sys
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from .database_model import DatabaseAndModel
from .event_model import KINDS, OPERATIONS, Operation, Setup, TableAndModel, draw

SEED = int(os.environ.get("SEGUE_MODEL_SEED", "0"))
ROUNDS = int(os.environ.get("SEGUE_MODEL_ROUNDS", "1"))
# Under a sanitizer everything takes many times as long.
OPERATIONS_EACH = 1_300 if "SEGUE_SANITIZED" not in os.environ else 200
# A table starts anew now and then, so that its model stays small.
OPERATIONS_A_TABLE = 130

# Sizes that make everything happen all the time.
SMALL = {"wal_bytes": 16384, "memtable_bytes": 280_000, "block_rows": 16, "window_rows": 8}
FEW_KEYS = {
    "wal_bytes": 65536,
    "memtable_bytes": 400_000,
    "block_rows": 128,
    "window_rows": 50,
    "table_keys": 3,
    "cache_bytes": 1 << 14,
    "max_open_files": 2,
}
BY_HAND = {"wal_bytes": 16384, "block_rows": 8, "window_rows": 1, "background_compaction": False}
EACH_APPEND_FLUSHED = {"wal_bytes": 8192, "memtable_bytes": 1, "block_rows": 1, "window_rows": 4}
LOG_OF_ONE_RECORD = {"wal_bytes": 4128, "window_rows": 20, "sync_interval_ms": 1}
LARGE = {"wal_bytes": 1 << 20}

SETUPS = {
    "plays, commit, small": Setup("plays", SMALL),
    "plays, os, each append flushed": Setup("plays", EACH_APPEND_FLUSHED, "os", window=4),
    "plays, interval, few keys": Setup("plays", FEW_KEYS | {"sync_interval_ms": 1}, "interval", window=1),
    "string keys, os, small": Setup("string keys", SMALL, "os"),
    "string keys, commit, by hand": Setup("string keys", BY_HAND, window=4),
    "two keys, commit, few keys": Setup("two keys", FEW_KEYS),
    "two keys, interval, log of one record": Setup("two keys", LOG_OF_ONE_RECORD, "interval"),
    "all types, os, by hand": Setup("all types", BY_HAND, "os", window=1),
    "all types, commit, large": Setup("all types", LARGE, window=4),
    "two keys, os, database": Setup("two keys", {}, "os", window=4, database=True),
}


def table_and_model(setup: Setup) -> TableAndModel:
    return DatabaseAndModel(setup) if setup.database else TableAndModel(setup)


def fails(setup: Setup, operations: list[Operation]) -> BaseException | None:
    """The exception that these operations end with on a new table."""
    try:
        both = table_and_model(setup)
        try:
            for operation in operations:
                both.do(operation)
        finally:
            both.abandon()
    except Exception as error:
        return error
    return None


def shortened(operations: list[Operation], still_fails: Callable[[list[Operation]], bool]) -> list[Operation]:
    """Fewer operations that fail too: leaves out halves, quarters, ... for as long as that works."""
    size = len(operations) // 2
    while size > 0:
        at = 0
        while at < len(operations):
            fewer = operations[:at] + operations[at + size :]
            if still_fails(fewer):
                operations = fewer
            else:
                at += size
        size //= 2
    return operations


@pytest.mark.parametrize("name", SETUPS)
def test_ten_thousand_operations(name: str) -> None:
    setup = SETUPS[name]
    kind = KINDS[setup.kind]
    for start in range(0, OPERATIONS_EACH * ROUNDS, OPERATIONS_A_TABLE):
        rng = random.Random(f"{SEED} {name} {start}")
        trace: list[Operation] = []
        both = table_and_model(setup)
        try:
            for _ in range(OPERATIONS_A_TABLE):
                trace.append(draw(rng, kind))
                both.do(trace[-1])
            both.close()
        except Exception as error:
            both.abandon()
            short = shortened(trace, lambda fewer: fails(setup, fewer) is not None)
            reason = fails(setup, short)
            sys.stdout.write(
                f"SEGUE_MODEL_SEED={SEED}, {name!r}, from operation {start}: {error!r}\n"
                f"operations that suffice ({'now: ' + repr(reason) if reason else 'not every time'}):\n"
                f"{pprint.pformat(short, width=150)}\n"
            )
            raise


def test_every_operation_is_tried_often_enough() -> None:
    """Ten thousand in all, and of each kind some on every table."""
    assert OPERATIONS_EACH * len(SETUPS) >= 10_000 or "SEGUE_SANITIZED" in os.environ
    rng = random.Random(SEED)
    drawn = [draw(rng, KINDS["plays"])[0] for _ in range(1_300)]
    assert {name: drawn.count(name) >= 3 for name in OPERATIONS} == dict.fromkeys(OPERATIONS, True)
    missing = set(OPERATIONS) - {name for name in vars(TableAndModel) if not name.startswith("_")}
    assert not missing


@pytest.mark.parametrize(
    "name", ["plays, commit, small", "two keys, commit, few keys", "all types, commit, large"]
)
def test_tables_by_models_are_among_what_is_tried(name: str) -> None:
    both = table_and_model(SETUPS[name])
    both.append_arrivals(1, 700, None)
    both.flush()
    flushed = set(versions(both))
    both.append_arrivals(2, 700, None)
    both.compact()
    assert 2 in flushed
    assert 2 in versions(both)
    both.close()


def versions(both: TableAndModel) -> list[int]:
    """Of the format, as each table has it; 2 are those with models."""
    tables = [both.env.read_file(f"/t/{name}") for name in both.env.list("/t") if name.endswith(".sst")]
    return [int.from_bytes(table[-16:-12], "little") for table in tables]


def test_a_failure_is_shortened_to_what_matters() -> None:
    operations = [("scan", {}), ("append", {"n": 1}), ("flush", {}), ("append", {"n": 2}), ("sync", {})] * 20

    def still_fails(fewer: list[Operation]) -> bool:
        return ("flush", {}) in fewer and ("append", {"n": 2}) in fewer

    assert sorted(shortened(operations, still_fails)) == [("append", {"n": 2}), ("flush", {})]


class EventsMachine(RuleBasedStateMachine):
    """The same operations, drawn by hypothesis, which makes a failing run short by itself."""

    @initialize(name=st.sampled_from(sorted(SETUPS)))
    def begin(self, name: str) -> None:
        self.both = table_and_model(SETUPS[name])

    def teardown(self) -> None:
        if hasattr(self, "both"):
            self.both.close()


def add_rule(name: str, arguments: Callable) -> None:
    @rule(rng=st.randoms(use_true_random=False))
    def run(self: EventsMachine, rng: random.Random) -> None:
        self.both.do((name, arguments(rng, self.both.kind)))

    run.__name__ = name
    setattr(EventsMachine, name, run)


for _name, (_, _arguments) in OPERATIONS.items():
    add_rule(_name, _arguments)

TestEvents = EventsMachine.TestCase
TestEvents.settings = settings(
    max_examples=40 if "SEGUE_SANITIZED" not in os.environ else 8,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
