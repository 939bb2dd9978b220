"""An event table beside a plain Python model of it: every operation is done to both, and compared.

An operation is a name and keyword arguments that can be printed, so that a run is a list which can be
replayed and made shorter. Operations mean something in any state: a snapshot is chosen by its place modulo
how many there are, and so on.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from segue import _engine
from segue.errors import Error, InvalidError, SchemaError
from segue.events import Events

from .batch_inputs import WAYS, batch_input
from .open_reading import OpenReading

Row = tuple[Any, ...]  # values in schema order; times and dates as int
Operation = tuple[str, dict[str, Any]]

WORDS = pa.dictionary(pa.int32(), pa.string())
TEXTS = ["", "a", "a\0", "ab", "é", "longer than eight bytes", "longer than eight bytez"]
DAY = 86_400_000_000
YEAR_1, YEAR_10000 = -62_135_596_800, 253_402_300_800  # the first second that is taken, the first that is not


@dataclass(frozen=True)
class Kind:
    """A schema, with how its values are made."""

    schema: pa.Schema
    key: list[str]
    values: dict[str, Callable[[random.Random], Any]]

    def place(self, name: str) -> int:
        return self.schema.get_field_index(name)


def integers(low: int, high: int) -> Callable[[random.Random], int]:
    return lambda rng: rng.choice([low, high, 0, rng.randint(low, high)])


def maybe(values: Callable[[random.Random], Any]) -> Callable[[random.Random], Any]:
    return lambda rng: None if rng.random() < 0.2 else values(rng)


def one_of(*values: Any) -> Callable[[random.Random], Any]:
    return lambda rng: rng.choice(values)


ALL_TYPES: dict[str, tuple[pa.DataType, Callable[[random.Random], Any]]] = {
    "bool": (pa.bool_(), one_of(True, False)),
    "int8": (pa.int8(), integers(-(2**7), 2**7 - 1)),
    "int16": (pa.int16(), integers(-(2**15), 2**15 - 1)),
    "int64": (pa.int64(), integers(-(2**63), 2**63 - 1)),
    "uint8": (pa.uint8(), integers(0, 2**8 - 1)),
    "uint32": (pa.uint32(), integers(0, 2**32 - 1)),
    "uint64": (pa.uint64(), integers(0, 2**64 - 1)),
    "float32": (pa.float32(), one_of(0.0, -1.5, 2.0**100, float("inf"))),
    "float64": (pa.float64(), one_of(0.0, 1 / 3, -1e300, float("-inf"))),
    "decimal": (pa.decimal128(30, 4), lambda rng: decimal.Decimal(rng.randint(-(10**29), 10**29)).scaleb(-4)),
    "date": (pa.date32(), integers(-100_000, 100_000)),
    "seconds": (pa.timestamp("s"), integers(YEAR_1, YEAR_10000 - 1)),
    "nanos": (pa.timestamp("ns", "Europe/Berlin"), integers(-(2**63), 2**63 - 1)),
    "text": (pa.large_string(), one_of(*TEXTS)),
    "bytes": (pa.binary(), one_of(b"", b"\0\xff", b"x" * 300)),
    "word": (WORDS, one_of(*TEXTS)),
}

KINDS = {
    "plays": Kind(
        pa.schema(
            {
                "k": pa.int64(),
                "at": pa.timestamp("us", "UTC"),
                "song": pa.int32(),
                "country": WORDS,
                "ms": pa.int32(),
            }
        ),
        ["k"],
        {
            "k": integers(-3, 3),
            "song": integers(-(2**31), 2**31 - 1),
            "country": one_of("DE", "SE", ""),
            "ms": maybe(integers(0, 10**6)),
        },
    ),
    "string keys": Kind(
        pa.schema(
            {"at": pa.timestamp("us"), "k": pa.string(), "v": pa.float64(), "text": pa.string(), "d": WORDS}
        ),
        ["k"],
        {
            "k": one_of(*TEXTS),
            "v": maybe(one_of(0.5, -0.0, 1e-300)),
            "text": maybe(one_of(*TEXTS)),
            "d": maybe(one_of("x", "y")),
        },
    ),
    "two keys": Kind(
        pa.schema({"k": WORDS, "at": pa.timestamp("ms"), "v": pa.uint16(), "d": pa.bool_()}),
        ["v", "k"],
        {"k": one_of("", "p", "pq"), "v": integers(0, 2), "d": maybe(one_of(True, False))},
    ),
    "all types": Kind(
        pa.schema(
            {"k": pa.int32(), "at": pa.timestamp("us")} | {n: kind for n, (kind, _) in ALL_TYPES.items()}
        ),
        ["k"],
        {"k": integers(-2, 2)} | {name: maybe(values) for name, (_, values) in ALL_TYPES.items()},
    ),
}


@dataclass(frozen=True)
class Setup:
    """What an event table is made with."""

    kind: str
    options: dict[str, Any]
    durability: str = "commit"
    window: int | None = None  # in units of the time column; None: a day
    database: bool = False  # on disk, with the usual options

    @property
    def width(self) -> int:
        if self.window is not None:
            return self.window
        return DAY if KINDS[self.kind].schema.field("at").type.unit == "us" else DAY // 1000


@dataclass
class Unit:
    """Rows that are there together or not at all."""

    first: int
    rows: list[Row]
    token: str | None

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1


@dataclass
class Model:
    """What the table should hold."""

    units: list[Unit] = field(default_factory=list)
    expired: dict[int, int] = field(default_factory=dict)  # sequence -> row's time
    last: int = 0
    synced: int = 0  # at least up to here events survive power loss
    handoff: int = 0
    taken: int | None = None  # by a pipeline, if there is one
    tokens: dict[str, Unit] = field(default_factory=dict)

    def visible(self) -> list[tuple[int, Row]]:
        return [
            (unit.first + i, row)
            for unit in self.units
            for i, row in enumerate(unit.rows)
            if unit.first + i not in self.expired
        ]


class TableAndModel:
    """Both, in step. Any difference is an AssertionError."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.kind = KINDS[setup.kind]
        self.names = self.kind.schema.names
        self.time = self.kind.place("at")
        self.env = _engine.testing.MemEnv()
        self.events: Events
        self.create()
        self.model = Model()
        self.snapshots: list[tuple[Any, list[tuple[int, Row]]]] = []  # of the writer and of readers
        self.reader: Events | None = None  # beside the writer
        self.shown: list[tuple[int, Row]] = []  # by the reader, since it was last refreshed
        self.readings: list[OpenReading] = []  # half read

    def create(self) -> None:
        self.events = Events.create(
            "/t",
            "t",
            self.kind.schema,
            self.kind.key,
            "at",
            window=self.window(),
            durability=self.setup.durability,
            _options=self.setup.options,
            _env=self.env,
        )

    def window(self) -> Any:
        unit = self.kind.schema.field("at").type.unit
        width = self.setup.window
        return "day" if width is None else dt.timedelta(**{WINDOW_UNITS[unit]: width})

    def do(self, operation: Operation) -> None:
        name, arguments = operation
        getattr(self, name)(**arguments)
        assert self.events.stats().sequence == self.model.last

    def close(self) -> None:
        self.events.verify()
        self.scan(None, ordered=False)
        self.read_stale()
        for snapshot, rows in self.snapshots:
            self.check_scan(snapshot, rows)
        self.close_reader()
        self.events.close()
        for reading in self.readings:
            reading.read(None)
        self.abandon()

    def abandon(self) -> None:
        self.close_reader()
        self.events.close()

    # ---- writing ----

    def took(self, first: int, rows: list[Row], token: str | None = None) -> None:
        unit = Unit(first, rows, token)
        self.model.units.append(unit)
        self.model.last = unit.last
        if token is not None:
            self.model.tokens[token] = unit
        if self.setup.durability == "commit":
            self.model.synced = self.model.last

    def append(self, row: Row, named: bool) -> None:
        if named:
            sequence = self.events.append(**dict(zip(self.names, row, strict=True)))
        else:
            sequence = self.events.append(*row)
        assert sequence == self.model.last + 1
        self.took(sequence, [row])

    def append_async(self, rows: list[Row]) -> None:
        async def serve() -> list[int]:
            return await asyncio.gather(*(self.events.append_async(*row) for row in rows))

        sequences = asyncio.run(serve())
        assert sorted(sequences) == list(range(self.model.last + 1, self.model.last + 1 + len(rows)))
        for sequence, row in sorted(zip(sequences, rows, strict=True)):
            self.took(sequence, [row])

    def append_batch(self, base: list[Row], size: int, token: str | None, way: str) -> None:
        """`size` rows: those of `base` over and over, as equal keys and times are what is interesting."""
        rows = [base[i % len(base)] for i in range(size)]
        known = self.model.tokens.get(token) if token is not None else None
        if known is not None:
            rows = known.rows
        first, last = self.events.append_batch(batch_input(self.kind.schema, rows, way), token=token)
        if known is not None:
            assert (first, last) == (known.first, known.last)
            return
        assert (first, last) == (self.model.last + 1, self.model.last + len(rows))
        if rows:
            self.took(first, rows, token)

    def append_arrivals(self, seed: int, size: int, token: str | None) -> None:
        """So many rows that a flush or a merge writes them by models, which foretell what they look like."""
        self.append_batch(arrivals(self.kind, seed, size), size, token, "columns")

    def append_bad(self, row: Row) -> None:
        """A null key, alone and inside a batch: refused, and nothing is changed."""
        bad = list(row)
        bad[self.kind.place(self.kind.key[0])] = None
        with pytest.raises(SchemaError):
            self.events.append(*bad)
        with pytest.raises(SchemaError):
            self.events.append_batch(batch_input(self.kind.schema, [row, tuple(bad)], "table"))

    def reuse_token(self, token: str, row: Row) -> None:
        known = self.model.tokens.get(token)
        if known is None or known.rows == [row]:
            return
        with pytest.raises(InvalidError, match="other content"):
            self.events.append_batch(batch_input(self.kind.schema, [row], "columns"), token=token)

    # ---- keeping ----

    def sync(self) -> None:
        assert self.events.sync() == self.model.last
        self.model.synced = self.model.last
        assert self.events.stats().synced_sequence == self.model.last

    def flush(self) -> None:
        self.events.flush()
        stats = self.events.stats()
        # A number that was handed off and lost is not in any file.
        assert stats.flushed_sequence == max((unit.last for unit in self.model.units), default=0)
        assert stats.skiplist_rows == stats.run_rows == 0
        self.model.synced = self.model.last

    def compact(self) -> None:
        files = self.events.compact()
        assert files <= max(self.events.stats().tables, 1)
        self.model.synced = self.model.last

    def expire(self, before: int, force: bool) -> None:
        """Refused, as a whole, while a pipeline has not taken some of it, unless forced."""
        bound = before // self.setup.width * self.setup.width
        gone = {sequence: row[self.time] for sequence, row in self.model.visible() if row[self.time] < bound}
        taken = self.model.taken
        self.model.synced = self.model.last
        if taken is not None and not force and any(sequence > taken for sequence in gone):
            with pytest.raises(InvalidError, match="nightly"):
                self.events.expire(before=before)
            return
        report = self.events.expire(before=before, force=force)
        assert report.events == len(gone)
        assert report.before.astype("int64") == bound
        self.model.expired |= gone

    def record_handoff(self, part: float, synced: bool) -> None:
        """What a pipeline does, from the first time on: it takes events that are durable."""
        if synced:
            self.sync()
        sequence = int(self.model.last * part)
        self.events.record_handoff(sequence)
        self.model.handoff = max(self.model.handoff, sequence)
        self.model.synced = max(self.model.synced, sequence)
        self.model.taken = max(self.model.taken or 0, sequence)
        self.tell_taken()

    def tell_taken(self) -> None:
        """Let expiry know of the pipeline, as the database would."""
        taken = self.model.taken
        self.events.taken = lambda: {} if taken is None else {"nightly": taken}

    # ---- opening ----

    def reopen(self) -> None:
        self.events.close()
        self.model.synced = self.model.last
        self.open()

    def open(self) -> None:
        self.events = Events.open(
            "/t", "t", durability=self.setup.durability, _options=self.setup.options, _env=self.env
        )
        self.tell_taken()

    def kill(self) -> None:
        """The process dies: what it was told is acknowledged is there."""
        self.model.synced = self.model.last
        self.lose_power("all", 0)

    def lose_power(self, keep: str, seed: int) -> None:
        # A reader would stay behind on the old file system. What it and the writer gave out stays readable.
        self.close_reader()
        old, self.env = self.events, self.env.crash(keep, seed)
        try:
            self.open()
        finally:
            old.close()
        found = self.sequences(self.events.snapshot())
        model = self.model
        upto = max([model.synced, *found])
        assert upto in {0, model.synced, *(unit.last for unit in model.units)}, "a batch is there in part"
        model.units = [unit for unit in model.units if unit.last <= upto]
        model.expired = {sequence: at for sequence, at in model.expired.items() if sequence <= upto}
        model.tokens = {token: unit for token, unit in model.tokens.items() if unit.last <= upto}
        assert found == [sequence for sequence, _ in model.visible()]
        model.synced = model.last = max(upto, model.handoff)

    def sequences(self, snapshot: Any) -> list[int]:
        table = snapshot.scan_sequences(0, 2**62, ["at"], "n").to_arrow()
        return sorted(table["n"].to_pylist())

    # ---- reading ----

    def snapshot(self) -> None:
        taken = self.events.snapshot()
        assert taken.sequence == self.model.last
        self.snapshots = [*self.snapshots[-3:], (taken, self.model.visible())]

    def scan(self, place: int | None, **arguments: Any) -> None:
        """Of a snapshot taken before, or of the table."""
        if place is None or not self.snapshots:
            self.check_scan(self.events, self.model.visible(), **arguments)
        else:
            snapshot, rows = self.snapshots[place % len(self.snapshots)]
            self.check_scan(snapshot, rows, **arguments)

    def check_scan(
        self,
        source: Any,
        rows: list[tuple[int, Row]],
        key: Row | None = None,
        since: int | None = None,
        until: int | None = None,
        columns: list[str] | None = None,
        descending: bool = False,
        ordered: bool = True,
        limit: int | None = None,
    ) -> None:
        argument = key if key is None or len(key) > 1 else key[0]
        table = source.scan(argument, since, until, columns, descending, ordered, limit).to_arrow()
        self.check_found(rows_of(table), rows, key, since, until, columns, descending, ordered, limit)

    def check_found(
        self,
        found: list[Row],
        rows: list[tuple[int, Row]],
        key: Row | None = None,
        since: int | None = None,
        until: int | None = None,
        columns: list[str] | None = None,
        descending: bool = False,
        ordered: bool = True,
        limit: int | None = None,
    ) -> None:
        """Whether a scan with these arguments, when there were these rows, may give what was found."""
        keys = [self.kind.place(name) for name in self.kind.key]
        places = [self.kind.place(name) for name in columns or self.names]
        wanted = [
            (row[self.time], sequence, row)
            for sequence, row in rows
            if (key is None or tuple(row[k] for k in keys) == key)
            and (since is None or row[self.time] >= since)
            and (until is None or row[self.time] < until)
        ]
        wanted.sort(key=lambda entry: entry[:2], reverse=descending)
        expected = [tuple(row[c] for c in places) for _, _, row in wanted]
        if key is not None or ordered or descending:
            assert found == expected[:limit]
        elif limit is None or limit >= len(expected):
            assert sorted(found, key=repr) == sorted(expected, key=repr)
        else:
            assert len(found) == limit
            left = list(expected)
            for row in found:
                left.remove(row)

    def begin_reading(self, batches: int, as_reader: bool, of_reader: bool, bounds: dict[str, Any]) -> None:
        """A scan of the table, or of the reader that stays, read in part; `read_on` goes on with it."""
        source, rows = self.events, self.model.visible()
        if of_reader and self.reader is not None:
            source, rows = self.reader, self.shown
        key = bounds.get("key")
        argument = key if key is None or len(key) > 1 else key[0]
        scan = source.scan(**bounds | {"key": argument})
        reading = OpenReading(
            scan,
            as_reader,
            lambda found: self.check_found(found, rows, **{"ordered": False} | bounds),
            rows_of,
        )
        reading.read(batches)
        # The oldest is dropped half read, as by somebody who has seen enough.
        self.readings = [*self.readings[-3:], reading]

    def read_on(self, place: int, batches: int | None) -> None:
        if self.readings:
            reading = self.readings[place % len(self.readings)]
            reading.read(batches)
            if reading.ended:
                self.readings.remove(reading)

    def scan_sequences(self, after: int, count: int) -> None:
        with self.events.snapshot() as snapshot:
            table = snapshot.scan_sequences(after, after + count, None, "n").to_arrow()
        found = sorted(
            zip(table["n"].to_pylist(), rows_of(table.drop_columns(["n"])), strict=True), key=first
        )
        assert found == [(n, row) for n, row in self.model.visible() if after < n <= after + count]

    def read_elsewhere(self) -> None:
        """A reader process beside the writer finds what was acknowledged."""
        with Events.open("/t", "t", mode="r", _options=self.setup.options, _env=self.env) as reader:
            self.check_scan(reader, self.model.visible())
            with pytest.raises(Error, match='mode="r"'):
                reader.flush()

    # ---- a reader that stays ----

    def open_reader(self) -> None:
        self.close_reader()
        self.reader = Events.open("/t", "t", mode="r", _options=self.setup.options, _env=self.env)
        self.shown = self.model.visible()

    def close_reader(self) -> None:
        if self.reader is not None:
            self.reader.close()
        self.reader = None

    def refresh(self) -> None:
        """It shows all that was acknowledged, whatever the writer did meanwhile, or none is open."""
        if self.reader is None:
            self.open_reader()
        self.refresh_reader()
        assert self.reader is not None
        self.shown = self.model.visible()
        assert self.reader.stats().synced_sequence <= self.model.last
        self.check_scan(self.reader, self.shown)

    def refresh_reader(self) -> None:
        assert self.reader is not None
        assert self.reader.refresh() == self.model.last

    def read_stale(self, **arguments: Any) -> None:
        """Without a refresh it shows what it showed, whatever was flushed, merged and expired since."""
        if self.reader is not None:
            self.check_scan(self.reader, self.shown, **arguments)

    def snapshot_of_reader(self) -> None:
        """Scans of it are checked with those of the writer's snapshots, when the reader may be closed."""
        if self.reader is None:
            self.open_reader()
        assert self.reader is not None
        self.snapshots = [*self.snapshots[-3:], (self.reader.snapshot(), self.shown)]

    def stats(self) -> None:
        stats = self.events.stats()
        rows = stats.table_rows + stats.skiplist_rows + stats.run_rows
        visible = len(self.model.visible())
        # Rows that expired stay in shared files until these are merged.
        assert visible <= rows <= visible + len(self.model.expired)
        assert stats.tokens == len(self.model.tokens)
        assert stats.synced_sequence <= stats.sequence
        assert stats.synced_sequence >= self.model.synced
        assert sum(window.rows for window in stats.windows) == stats.table_rows
        assert sum(window.bytes for window in stats.windows) == stats.table_bytes
        assert not stats.background_error
        assert repr(stats)

    def verify(self) -> None:
        self.events.verify()


WINDOW_UNITS = {"us": "microseconds", "ms": "milliseconds"}


def first(entry: tuple[Any, ...]) -> Any:
    return entry[0]


def rows_of(table: pa.Table) -> list[Row]:
    """Rows as tuples, times and dates as int."""
    columns = []
    for column in table.columns:
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        elif pa.types.is_date32(column.type):
            column = column.cast(pa.int32())
        columns.append(column.to_pylist())
    return list(zip(*columns, strict=True)) if columns else []


# ---- choosing operations ----


def draw_row(rng: random.Random, kind: Kind) -> Row:
    at = rng.randint(-5, 20)
    if rng.random() < 0.05:
        second = 10**6 if kind.schema.field("at").type.unit == "us" else 10**3
        at = rng.choice([YEAR_1 * second, -300, 1000, YEAR_10000 * second - 1])
    return tuple(at if name == "at" else kind.values[name](rng) for name in kind.schema.names)


def arrivals(kind: Kind, seed: int, size: int) -> list[Row]:
    """Events nearly in the order of their times, of which the values of some columns depend on the key."""
    rng = random.Random(seed)
    start = rng.choice([0, 40_000])
    by_key: dict[Row, Row] = {}
    rows = []
    for i in range(size):
        row = draw_row(rng, kind)
        alike = by_key.setdefault(tuple(row[kind.place(name)] for name in kind.key), row)
        values = dict(zip(kind.schema.names, row, strict=True))
        for field_ in kind.schema:
            if field_.type == WORDS:
                values[field_.name] = alike[kind.place(field_.name)]
            elif field_.type == pa.int32() and field_.name not in kind.key:
                values[field_.name] = int(300 ** rng.random()) * 7919
        values["at"] = start + i * 100 + rng.randint(0, 900)
        rows.append(tuple(values[name] for name in kind.schema.names))
    return rows


def draw_rows(rng: random.Random, kind: Kind) -> list[Row]:
    return [draw_row(rng, kind) for _ in range(rng.randint(1, 6))]


def draw_scan(rng: random.Random, kind: Kind) -> dict[str, Any]:
    return {"place": rng.choice([None, 0, 1, 2, 3])} | draw_bounds(rng, kind)


def draw_bounds(rng: random.Random, kind: Kind) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if rng.random() < 0.6:
        arguments["key"] = tuple(kind.values[name](rng) for name in kind.key)
    if rng.random() < 0.4:
        arguments["since"] = rng.randint(-6, 20)
    if rng.random() < 0.4:
        arguments["until"] = rng.randint(-6, 21)
    if rng.random() < 0.5:
        arguments["columns"] = rng.sample(kind.schema.names, rng.randint(1, len(kind.schema.names)))
    arguments["descending"] = rng.random() < 0.3
    arguments["ordered"] = rng.random() < 0.3
    if rng.random() < 0.4:
        arguments["limit"] = rng.choice([0, 1, 2, 10, 1000])
    return arguments


SIZES = [0, 1, 2, 5, 5, 9, 9, 20, 63, 64, 130]

# name: weight, arguments
OPERATIONS: dict[str, tuple[int, Callable[[random.Random, Kind], dict[str, Any]]]] = {
    "append": (30, lambda rng, kind: {"row": draw_row(rng, kind), "named": rng.random() < 0.3}),
    "append_async": (2, lambda rng, kind: {"rows": draw_rows(rng, kind)}),
    "append_batch": (
        16,
        lambda rng, kind: {
            "base": draw_rows(rng, kind),
            "size": rng.choice(SIZES),
            "token": rng.choice([None, None, "t", "u", "v", f"t{rng.randint(0, 99)}"]),
            "way": rng.choice(WAYS),
        },
    ),
    "append_arrivals": (
        1,
        lambda rng, kind: {
            "seed": rng.randint(0, 10**6),
            "size": rng.choice([256, 300, 700]),
            "token": rng.choice([None, "u"]),
        },
    ),
    "append_bad": (1, lambda rng, kind: {"row": draw_row(rng, kind)}),
    "reuse_token": (2, lambda rng, kind: {"token": rng.choice("tuv"), "row": draw_row(rng, kind)}),
    "sync": (2, lambda rng, kind: {}),
    "flush": (5, lambda rng, kind: {}),
    "compact": (2, lambda rng, kind: {}),
    "expire": (2, lambda rng, kind: {"before": rng.randint(-10, 15), "force": rng.random() < 0.5}),
    "record_handoff": (
        1,
        lambda rng, kind: {"part": rng.choice([0.3, 0.8, 1.0]), "synced": rng.random() < 0.8},
    ),
    "reopen": (3, lambda rng, kind: {}),
    "kill": (1, lambda rng, kind: {}),
    "lose_power": (
        3,
        lambda rng, kind: {"keep": rng.choice(["none", "all", "random"]), "seed": rng.randint(0, 99)},
    ),
    "snapshot": (4, lambda rng, kind: {}),
    "scan": (25, draw_scan),
    "scan_sequences": (
        3,
        lambda rng, kind: {"after": rng.randint(0, 300), "count": rng.choice([0, 1, 50, 1000])},
    ),
    "begin_reading": (
        4,
        lambda rng, kind: {
            "batches": rng.choice([0, 1, 1, 2]),
            "as_reader": rng.random() < 0.3,
            "of_reader": rng.random() < 0.3,
            "bounds": draw_bounds(rng, kind) if rng.random() < 0.4 else {},
        },
    ),
    "read_on": (
        4,
        lambda rng, kind: {"place": rng.randint(0, 3), "batches": rng.choice([1, 1, 3, None])},
    ),
    "read_elsewhere": (1, lambda rng, kind: {}),
    "open_reader": (1, lambda rng, kind: {}),
    "refresh": (6, lambda rng, kind: {}),
    "read_stale": (5, lambda rng, kind: draw_bounds(rng, kind)),
    "snapshot_of_reader": (3, lambda rng, kind: {}),
    "stats": (3, lambda rng, kind: {}),
    "verify": (1, lambda rng, kind: {}),
}


def draw(rng: random.Random, kind: Kind) -> Operation:
    (name,) = rng.choices(list(OPERATIONS), [weight for weight, _ in OPERATIONS.values()])
    return name, OPERATIONS[name][1](rng, kind)
