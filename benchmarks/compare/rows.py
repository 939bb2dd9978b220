"""The headline rows of `headline.py`: for each a generator that measures one sample at a time.

A row prepares untimed, then yields seconds and a digest of its output for ever; a digest is equal for both
sides. Only the public API of Segue is used, so that a row runs on an older commit too. Samples take some 50
to 300 ms: long against the clock and the scheduler, short enough for many.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks import workloads
from benchmarks.events.encoding import Dictionaries, Digest
from benchmarks.query.statements import STATEMENTS

Samples = Iterator[tuple[float, str]]

EVENTS = 1_000_000
FACTS = 1_000_000
SONGS = 1_000_000
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
TABLE = "listens"
KEYS = {"key": "user_id", "time": "timestamp"}


def make_inputs() -> dict[str, str]:
    """Make what both sides read, by the generator of one of them; return files by name."""
    from segue import datagen

    facts = datagen.cached("facts", FACTS, directory=workloads.cache_directory())
    return {
        "events": str(workloads.path("events", EVENTS)),
        "dim_songs": str(workloads.path("dim_songs", SONGS)),
        "dim_artists": str(workloads.path("dim_artists", 100_000)),
        "facts": str(facts),
    }


@dataclass(frozen=True)
class Inputs:
    """What a row has: input files by name, and directories."""

    files: Mapping[str, str]
    side: Path
    """For what is made once a side."""
    work: Path
    """Of this process."""

    def table(self, name: str) -> pa.Table:
        return workloads.load(self.files[name])

    def batches(self, rows: int, size: int = 1000) -> list[pa.RecordBatch]:
        return workloads.batches(self.table("events").slice(0, rows), size)

    def once(self, name: str, make: Callable[[Path], None]) -> Path:
        """Directory that `make` fills at the first use of this side."""
        target = self.side / name
        if not target.exists():
            unfinished = target.with_name(f"{name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            make(unfinished)
            unfinished.rename(target)
        return target


def _appends(inputs: Inputs, durability: str, send: Callable[[Any], None]) -> Samples:
    """Time `send` on an empty table, again and again; the digest is of what can be read then."""
    import segue

    schema = inputs.table("events").schema
    dictionaries = Dictionaries(inputs.table("events"))
    for number in itertools.count():
        directory = inputs.work / str(number)
        with segue.open(directory, durability=durability) as db:
            listens = db.create_events(TABLE, schema, **KEYS)
            began = time.perf_counter()
            send(listens)
            seconds = time.perf_counter() - began
            digest = _content(listens.scan(), dictionaries)
        shutil.rmtree(directory)
        yield seconds, digest


def one_call(inputs: Inputs) -> Samples:
    batch = pa.Table.from_batches(inputs.batches(50_000))
    columns = [batch[name] for name in workloads.EVENT_COLUMNS]
    columns[2] = columns[2].cast(pa.int64())
    rows = list(zip(*(column.to_pylist() for column in columns), strict=True))

    def send(listens: Any) -> None:
        append = listens.append
        for row in rows:
            append(*row)

    return _appends(inputs, "os", send)


def batches(inputs: Inputs, durability: str, rows: int) -> Samples:
    sent = inputs.batches(rows)

    def send(listens: Any) -> None:
        for batch in sent:
            listens.append_batch(batch)

    return _appends(inputs, durability, send)


def _stored(inputs: Inputs) -> Path:
    """A store of all events, in tables."""

    def make(directory: Path) -> None:
        import segue

        with segue.open(directory, durability="os") as db:
            listens = db.create_events(TABLE, inputs.table("events").schema, **KEYS)
            for batch in inputs.batches(EVENTS, 10_000):
                listens.append_batch(batch)
            listens.flush()

    return inputs.once("stored", make)


def last_50(inputs: Inputs) -> Samples:
    import segue

    users = list(dict.fromkeys(inputs.table("events")["user_id"].slice(0, 5000).to_pylist()))[:500]
    with segue.open(_stored(inputs), mode="r") as db:
        listens = db.events(TABLE)
        while True:
            began = time.perf_counter()
            found = [listens.scan(key=user, descending=True, limit=50).to_arrow() for user in users]
            seconds = time.perf_counter() - began
            yield seconds, _digest(table["song_id"].to_pylist() for table in found)


def window(inputs: Inputs) -> Samples:
    """All columns of the second day of five, in no order."""
    import segue

    since, until = START + dt.timedelta(days=1), START + dt.timedelta(days=2)
    with segue.open(_stored(inputs), mode="r") as db:
        listens = db.events(TABLE)
        content = _content(listens.scan(since=since, until=until), Dictionaries(inputs.table("events")))
        while True:
            rows = 0
            began = time.perf_counter()
            for _ in range(2):
                rows += sum(batch.num_rows for batch in listens.scan(since=since, until=until).batches())
            yield time.perf_counter() - began, f"{rows} of twice {content}"


_WRITER = """
import os, sys
import segue
from benchmarks import workloads
table = workloads.load(sys.argv[2]).slice(0, int(sys.argv[3]))
db = segue.open(sys.argv[1], durability="os")
listens = db.create_events("listens", table.schema, key="user_id", time="timestamp")
for batch in workloads.batches(table, 1000):
    listens.append_batch(batch)
os._exit(0)  # as if killed: nothing is flushed or closed
"""


def recovery(inputs: Inputs) -> Samples:
    import segue

    def make(directory: Path) -> None:
        arguments = [str(directory / "db"), inputs.files["events"], "500000"]
        subprocess.run([sys.executable, "-c", _WRITER, *arguments], check=True)

    left = inputs.once("crashed", make) / "db"
    dictionaries = Dictionaries(inputs.table("events"))
    for number in itertools.count():
        copy = inputs.work / str(number)
        shutil.copytree(left, copy)
        began = time.perf_counter()
        with segue.open(copy, durability="os") as db:
            listens = db.events(TABLE)
            seconds = time.perf_counter() - began
            digest = _content(listens.scan(), dictionaries)
        shutil.rmtree(copy)
        yield seconds, digest


def nightly(inputs: Inputs) -> Samples:
    import segue

    def make(directory: Path) -> None:
        with segue.open(directory, durability="os") as db:
            listens = db.create_events(TABLE, inputs.table("events").schema, **KEYS)
            for batch in inputs.batches(300_000, 10_000):
                listens.append_batch(batch)
            listens.flush()
            db.put_dimension("dim_songs", inputs.table("dim_songs"), key="song_id")

    shutil.copytree(inputs.once("nightly", make), inputs.work / "db")
    columns = ", ".join([*workloads.EVENT_COLUMNS, "artist_id", "genre_id", "date"])
    with segue.open(inputs.work / "db", durability="os") as db:
        for number in itertools.count():
            job = (
                db.pipeline(TABLE)
                .repartition(64, "user_id")
                .join(segue.broadcast("dim_songs"), on="song_id", columns=["artist_id", "genre_id"])
                .sort_within_partitions("timestamp")
                .write(f"facts_{number}", partition_by="date")
            )
            began = time.perf_counter()
            job.run(threads=2)
            seconds = time.perf_counter() - began
            rows = f"SELECT COUNT(*), BIT_XOR(HASH({columns})), SUM(HASH({columns})) FROM facts_{number}"
            yield seconds, _digest(db.sql(rows).fetchall())


def big_sort(inputs: Inputs, rows: int, memory: str) -> Samples:
    import numpy as np

    from segue import kernels

    rng = np.random.default_rng(3)
    source = pa.table(
        {
            "key": rng.permutation(rows).astype(np.int64) * 0x2545F4914F6CDD1D,
            "high": rng.integers(0, 1 << 60, rows),
            "low": np.arange(rows),
        }
    )
    while True:
        began = time.perf_counter()
        stream = kernels.big_sort(source, "key", memory=memory, threads=1, spill_dir=str(inputs.work))
        result = stream.read_all()
        seconds = time.perf_counter() - began
        low = result["low"].to_numpy()
        yield seconds, str(int((np.arange(1, rows + 1) * low).sum()))


def hash_partition(inputs: Inputs) -> Samples:
    from segue import kernels

    table = inputs.table("events").select(["user_id", "country"]).combine_chunks()
    while True:
        began = time.perf_counter()
        for _ in range(4):
            buckets = kernels.hash_partition(table, 64, ["user_id", "country"])
        yield time.perf_counter() - began, hashlib.blake2b(buckets.tobytes(), digest_size=8).hexdigest()


def _warehouse(inputs: Inputs) -> Path:
    """Facts of all events by day, and some events that no run has taken."""

    def make(directory: Path) -> None:
        import segue

        with segue.open(directory, durability="os") as db:
            listens = db.create_events(TABLE, inputs.table("events").schema, **KEYS)
            for batch in inputs.batches(EVENTS, 10_000):
                listens.append_batch(batch)
            for name in ("dim_songs", "dim_artists"):
                key = "song_id" if name == "dim_songs" else "artist_id"
                db.put_dimension(name, inputs.table(name), key=key)
            (
                db.pipeline(TABLE)
                .repartition(64, "user_id")
                .join(segue.broadcast("dim_songs"), on="song_id", columns=["artist_id", "genre_id"])
                .sort_within_partitions("timestamp")
                .write("fact_plays", partition_by="date")
                .run()
            )
            for batch in inputs.batches(20_000):
                listens.append_batch(batch)

    return inputs.once("warehouse", make)


def query(inputs: Inputs, name: str, times: int, fresh: bool = False) -> Samples:
    import segue

    with segue.open(_warehouse(inputs), mode="r") as db:
        while True:
            began = time.perf_counter()
            for _ in range(times):
                answer = db.sql(STATEMENTS[name], threads=2, fresh=fresh).fetchall()
            yield time.perf_counter() - began, _digest(answer)


def foreign(inputs: Inputs, times: int) -> Samples:
    """The story's query on zstd Parquet of another writer."""
    import segue

    artists = inputs.table("dim_artists")
    tables = {"fact_plays": f"{inputs.files['facts']}/**/*.parquet", "dim_artists": artists}
    while True:
        began = time.perf_counter()
        for _ in range(times):
            answer = segue.sql(STATEMENTS["top-artists"], tables, threads=2).fetchall()
        yield time.perf_counter() - began, _digest(answer)


def _content(scan: Any, dictionaries: Dictionaries) -> str:
    """Digest of events, all columns, in any order."""
    digest = Digest()
    for batch in scan.batches():
        digest.add_batch(batch, dictionaries)
    return str(digest)


def _digest(values: Any) -> str:
    return hashlib.blake2b(repr(list(values)).encode(), digest_size=8).hexdigest()
