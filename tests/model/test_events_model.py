"""The event table against a plain Python list: any operations in any order give the same rows."""

from __future__ import annotations

import datetime as dt
import itertools

import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from segue import _engine
from segue.events import Events

# The first and the last microsecond of the years that an event may be of.
FIRST_TIME, LAST_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999

WORDS = pa.dictionary(pa.int32(), pa.string())
SCHEMAS = {
    "ints": (
        pa.schema(
            {
                "k": pa.int64(),
                "at": pa.timestamp("us"),
                "v": pa.int32(),
                "d": pa.dictionary(pa.int32(), pa.string()),
            }
        ),
        ["k"],
        {
            "k": st.integers(-3, 3),
            "v": st.none() | st.integers(-(2**31), 2**31 - 1),
            "d": st.none() | st.sampled_from("xyz"),
        },
    ),
    "strings": (
        pa.schema({"k": pa.string(), "at": pa.timestamp("us"), "v": pa.float64(), "d": pa.string()}),
        ["k"],
        {
            "k": st.sampled_from(
                ["", "a", "a\0", "ab", "longer than eight bytes", "longer than eight bytez"]
            ),
            "v": st.none() | st.floats(allow_nan=False),
            "d": st.none() | st.text(max_size=4),
        },
    ),
    "two keys": (
        pa.schema(
            {
                "k": pa.dictionary(pa.int32(), pa.string()),
                "at": pa.timestamp("us"),
                "v": pa.uint16(),
                "d": pa.bool_(),
            }
        ),
        ["k", "v"],
        {"k": st.sampled_from(["", "p", "pq"]), "v": st.integers(0, 2), "d": st.none() | st.booleans()},
    ),
}
OPTIONS = [
    {"wal_bytes": 16384, "memtable_bytes": 280_000, "block_rows": 16, "window_rows": 8},
    {"wal_bytes": 65536, "memtable_bytes": 400_000, "block_rows": 128, "window_rows": 50, "table_keys": 3},
    {"wal_bytes": 16384, "window_rows": 1, "background_compaction": False},
    {},
]
WINDOWS = ["day", dt.timedelta(microseconds=1), dt.timedelta(microseconds=4)]


class EventsMachine(RuleBasedStateMachine):
    @initialize(
        name=st.sampled_from(sorted(SCHEMAS)),
        options=st.sampled_from(OPTIONS),
        window=st.sampled_from(WINDOWS),
    )
    def begin(self, name, options, window):
        self.schema, self.key, self.values = SCHEMAS[name]
        self.options = options
        self.env = _engine.testing.MemEnv()
        self.events = Events.create(
            "/t", "t", self.schema, self.key, "at", window=window, _options=options, _env=self.env
        )
        self.window = 86_400_000_000 if window == "day" else window.microseconds
        self.rows: list[dict] = []
        self.expired: frozenset[int] = frozenset()  # places in rows
        self.tokens: dict[str, tuple] = {}
        self.snapshots: list[tuple] = []

    def draw_row(self, data):
        row = {name: data.draw(values) for name, values in self.values.items()}
        return row | {
            "at": data.draw(st.integers(-5, 20) | st.sampled_from([FIRST_TIME, -300, 1000, LAST_TIME]))
        }

    @rule(data=st.data())
    def append(self, data):
        row = self.draw_row(data)
        assert self.events.append(**row) == len(self.rows) + 1
        self.rows.append(row)

    @rule(
        data=st.data(), size=st.sampled_from([0, 1, 2, 63, 64, 200]), token=st.none() | st.sampled_from("tuv")
    )
    def append_batch(self, data, size, token):
        base = [self.draw_row(data) for _ in range(min(size, 3))]
        rows = list(itertools.islice(itertools.cycle(base), size)) if base else []
        if token in self.tokens:
            rows, expected = self.tokens[token]
        else:
            expected = (len(self.rows) + 1, len(self.rows) + len(rows))
        columns = {name: [row[name] for row in rows] for name in self.schema.names}
        assert self.events.append_batch(columns, token=token) == expected
        if token not in self.tokens:
            self.rows.extend(rows)
            if token is not None and rows:
                self.tokens[token] = (rows, expected)

    @rule()
    def flush(self):
        self.events.flush()
        assert self.events.stats().flushed_sequence == len(self.rows)

    @rule()
    def compact(self):
        assert self.events.compact() <= max(self.events.stats().tables, 1)

    @rule(before=st.integers(-10, 25))
    def expire(self, before):
        bound = before // self.window * self.window
        gone = {n for n, row in enumerate(self.rows) if row["at"] < bound} - self.expired
        assert self.events.expire(before=before).events == len(gone)
        self.expired |= gone

    @rule()
    def reopen(self):
        self.events.close()
        self.events = Events.open("/t", "t", _options=self.options, _env=self.env)

    @rule(keep=st.sampled_from(["none", "all", "random"]), seed=st.integers(0, 9))
    def lose_power(self, keep, seed):
        # Everything was acknowledged with durability="commit": all of it must be there.
        old, self.env = self.events, self.env.crash(keep, seed)
        self.events = Events.open("/t", "t", _options=self.options, _env=self.env)
        old.close()

    @rule()
    def snapshot(self):
        self.snapshots = [*self.snapshots[-3:], (self.events.snapshot(), len(self.rows), self.expired)]

    def expected(self, rows, expired, key, since, until, descending, limit):
        found = [
            (row["at"], n, row)
            for n, row in enumerate(rows)
            if n not in expired
            and (key is None or tuple(row[k] for k in self.key) == key)
            and (since is None or row["at"] >= since)
            and (until is None or row["at"] < until)
        ]
        found.sort(key=lambda entry: entry[:2], reverse=descending)
        return [row for _, _, row in found][:limit]

    @rule(
        data=st.data(),
        keyed=st.booleans(),
        since=st.none() | st.integers(-6, 20),
        until=st.none() | st.integers(-6, 21),
        descending=st.booleans(),
        limit=st.none() | st.integers(0, 50),
        old=st.booleans(),
    )
    def scan(self, data, keyed, since, until, descending, limit, old):
        source, rows, expired = self.events, self.rows, self.expired
        if old and self.snapshots:
            source, count, expired = data.draw(st.sampled_from(self.snapshots))
            rows = rows[:count]
        key = tuple(data.draw(self.values[k]) for k in self.key) if keyed else None
        table = source.scan(key, since, until, descending=descending, ordered=True, limit=limit).to_arrow()
        table = table.set_column(1, "at", table["at"].cast(pa.int64()))
        assert table.to_pylist() == [
            {name: row[name] for name in self.schema.names}
            for row in self.expected(rows, expired, key, since, until, descending, limit)
        ]

    @rule(after=st.integers(0, 300), count=st.integers(0, 300))
    def scan_sequences(self, after, count):
        table = self.events.snapshot().scan_sequences(after, after + count, ["at"], "n").to_arrow()
        expected = [n for n in range(after, min(after + count, len(self.rows))) if n not in self.expired]
        assert sorted(table["n"].to_pylist()) == [n + 1 for n in expected]

    @invariant()
    def counts_agree(self):
        if hasattr(self, "events"):
            assert self.events.stats().sequence == len(self.rows)

    def teardown(self):
        if hasattr(self, "events"):
            self.events.verify()
            self.events.close()


EventsMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestEvents = EventsMachine.TestCase
