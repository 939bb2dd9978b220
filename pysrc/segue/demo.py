"""The whole journey on a synthetic stream of plays: events in, nightly job, dashboard.

What ``segue demo`` runs. It does what a service would: a share of the events one by one, the
rest in batches of a thousand, then the nightly job, then events that come late and a second
run; and it counts at the end that no event was lost and none counted twice. The budgets beside its figures
are those of the example it plays through: a music service with 8.6 billion plays a day, each acknowledged
within 8 ms, three hours for the nightly job and two seconds for the dashboard (the "story" below).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segue.errors import InvalidError

if TYPE_CHECKING:
    import pyarrow as pa

    from segue.database import Database
    from segue.datagen import Plays

__all__ = ["STORY_QUERY", "Act", "DemoReport", "Figure", "run_demo"]

STORY_QUERY = (
    "SELECT artist, country, COUNT(*) AS plays FROM fact_plays f "
    "JOIN dim_artists a ON f.artist_id = a.artist_id "
    "WHERE f.date >= '2024-01-01' GROUP BY artist, country ORDER BY plays DESC LIMIT 100"
)
STORY_EVENTS = 8_600_000_000
"""Events of the story's day, which its nightly job has three hours for."""
BATCH_ROWS = 1000
SINGLE_SHARE = 0.05
# A single append that waits for the disk takes 0.3 ms on a good one, 5 ms on a poor one: beyond
# these bounds all goes in batches, and the share that was reached is told.
SINGLES_AT_MOST = {"commit": 2_000, "interval": 50_000, "os": 50_000}
SINGLE_SECONDS = 1.5
BARE_SYNCS = 100
LATE_SHARE = 0.02
PARTITIONS = 64
START = datetime(2024, 3, 1, tzinfo=UTC)
DAYS = 5


@dataclass(frozen=True)
class Figure:
    """One measurement, beside its budget where it has one."""

    name: str
    value: float
    unit: str
    budget: float | None = None
    at_least: bool = False
    """The budget is a floor, not a ceiling."""
    note: str = ""

    @property
    def within(self) -> bool | None:
        """Whether the budget is kept; None without one."""
        if self.budget is None:
            return None
        return self.value >= self.budget if self.at_least else self.value <= self.budget


@dataclass(frozen=True)
class Act:
    """A part of the demo that is over."""

    title: str
    text: str
    figures: tuple[Figure, ...]


@dataclass
class DemoReport:
    """What the demo measured and counted. `to_dict` is what ``--json`` prints."""

    events: int = 0
    """Events in the event table."""
    fact_rows: int = 0
    """Rows of the fact table."""
    plays: int = 0
    """Sum of the story's query without its LIMIT."""
    append_events_per_s: float = 0.0
    append_p50_ms: float = 0.0
    append_p99_ms: float = 0.0
    append_max_ms: float = 0.0
    disk_sync_p50_ms: float = 0.0
    disk_sync_p99_ms: float = 0.0
    """What a bare write and sync of 4 KiB took in the same directory: the floor of a durable append."""
    batch_p99_ms: float = 0.0
    single_appends: int = 0
    batches: int = 0
    batch_rows: int = BATCH_ROWS
    durability: str = ""
    etl_rows_per_s: float = 0.0
    etl_seconds: float = 0.0
    etl_full_day_hours: float = 0.0
    """8.6 billion events at the measured rate."""
    late_events: int = 0
    second_run_seconds: float = 0.0
    query_seconds: float = 0.0
    """The story's query, the first time in this process."""
    query_warm_seconds: float = 0.0
    query_native: bool = False
    fresh_ms: float = 0.0
    """From `append` returning to the event being counted by ``fresh=True``."""
    fact_columns: int = 0
    days: int = 0
    path: str = ""
    seconds: float = 0.0
    top: list[tuple[str, str, int]] = field(default_factory=list)
    """Artist, country, plays: the first ten rows of the query."""

    @property
    def conserved(self) -> bool:
        """Whether every event is in the fact table, once, and counted by the query, once."""
        return self.events == self.fact_rows == self.plays

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "top"}
        values["conserved"] = self.conserved
        values["top"] = [dict(zip(("artist", "country", "plays"), row, strict=True)) for row in self.top]
        return values


def _pieces(batch: pa.RecordBatch, singles: int) -> tuple[list[tuple[Any, ...]], pa.RecordBatch]:
    """Split into the first rows as Python values, for single appends, and the others."""
    columns = [column.to_pylist() for column in batch.slice(0, singles).columns]
    return list(zip(*columns, strict=True)), batch.slice(singles)


class _Ingest:
    """Appends a stream as a service would, and takes the time of every call."""

    def __init__(self, events: Any, singles_at_most: int, total: int) -> None:
        self.events = events
        self._share = min(SINGLE_SHARE, singles_at_most / total)
        self._owed = 0.0
        self._left_ns = int(SINGLE_SECONDS * 1e9)
        self.single_ns: list[int] = []
        self.batch_ns: list[int] = []
        self.rows = 0

    def append(self, batches: Iterator[pa.RecordBatch]) -> None:
        clock = time.perf_counter_ns
        append, append_batch = self.events.append, self.events.append_batch
        for batch in batches:
            self._owed += batch.num_rows * self._share
            singles = min(int(self._owed), batch.num_rows) if self._left_ns > 0 else 0
            self._owed -= singles
            rows, rest = _pieces(batch, singles)
            for row in rows:
                start = clock()
                append(*row)
                took = clock() - start
                self.single_ns.append(took)
                self._left_ns -= took
            if rest.num_rows:
                start = clock()
                append_batch(rest)
                self.batch_ns.append(clock() - start)
            self.rows += batch.num_rows

    @property
    def seconds(self) -> float:
        return (sum(self.single_ns) + sum(self.batch_ns)) / 1e9


def _bare_syncs(folder: Path) -> list[int]:
    """Time what the disk itself takes: a write of 4 KiB and its sync, nanoseconds each."""
    data = bytes(4096)
    taken = []
    file, name = tempfile.mkstemp(dir=folder, prefix="sync-")
    try:
        os.write(file, bytes(4096 * BARE_SYNCS))
        os.fsync(file)
        for index in range(BARE_SYNCS):
            start = time.perf_counter_ns()
            os.pwrite(file, data, index * 4096)
            os.fsync(file)
            taken.append(time.perf_counter_ns() - start)
    finally:
        os.close(file)
        os.unlink(name)
    return taken


def _quantile_ms(nanoseconds: list[int], share: float) -> float:
    if not nanoseconds:
        return 0.0
    ordered = sorted(nanoseconds)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] / 1e6


def _sizes(events: int, seed: int) -> Plays:
    """Options whose number of users, songs and artists fits the number of events, up to the real ones."""
    from segue.datagen import Plays

    return Plays(
        users=max(100, min(10_000_000, events)),
        songs=max(100, min(1_000_000, events // 10)),
        artists=max(10, min(100_000, events // 100)),
        start=START,
        days=DAYS,
        seed=seed,
    )


def _directory(directory: str | os.PathLike[str] | None) -> Path:
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="segue-demo-"))
    path = Path(directory)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InvalidError(f"{path} is not empty: the demo starts from nothing, name another directory")
    return path


def run_demo(
    events: int = 1_000_000,
    directory: str | os.PathLike[str] | None = None,
    *,
    durability: Literal["commit", "interval", "os"] = "commit",
    seed: int = 42,
    memory: int | str = "1GiB",
    threads: int = 2,
    on_act: Callable[[Act], None] | None = None,
) -> DemoReport:
    """Send a stream through all three acts and measure them.

    Parameters
    ----------
    events
        Number of events, at least 100.
    directory
        Where the database goes; must be empty or not exist. A new temporary directory without it,
        which is kept.
    durability
        As for :func:`segue.open`.
    seed
        Another seed gives another stream.
    memory, threads
        As for :meth:`segue.pipeline.Job.run`.
    on_act
        Called with each :class:`Act` when it is over.

    Examples
    --------
    >>> report = run_demo(1000, durability="os")
    >>> report.events, report.conserved
    (1000, True)
    """
    import segue

    if events < 100:
        raise InvalidError(f"events={events} is too few for a demo; 100 is the least")
    started = time.perf_counter()
    path = _directory(directory)
    report = DemoReport(durability=durability, path=str(path))
    tell = on_act or (lambda _: None)
    with segue.open(path, durability=durability) as db:
        _run_acts(db, report, _sizes(events, seed), events, memory, threads, tell)
    report.seconds = time.perf_counter() - started
    return report


def _run_acts(
    db: Database,
    report: DemoReport,
    options: Plays,
    total: int,
    memory: int | str,
    threads: int,
    tell: Callable[[Act], None],
) -> None:
    from dataclasses import replace

    import segue
    from segue import datagen

    listens = db.create_events("listens", schema=datagen.PLAYS_SCHEMA, key="user_id", time="timestamp")
    db.put_dimension("dim_songs", datagen.dim_songs(options), key="song_id")
    db.put_dimension("dim_artists", datagen.dim_artists(options), key="artist_id")

    late = max(2, int(total * LATE_SHARE))
    on_time = total - late
    ingest = _Ingest(listens, SINGLES_AT_MOST[db.durability], total)
    ingest.append(datagen.plays(on_time, options, batch_rows=BATCH_ROWS))
    syncs = _bare_syncs(db.path)
    report.disk_sync_p50_ms, report.disk_sync_p99_ms = (_quantile_ms(syncs, share) for share in (0.5, 0.99))
    tell(_act_one(report, ingest, options))

    job = (
        db.pipeline("listens")
        .repartition(PARTITIONS, "user_id")
        .join(segue.broadcast("dim_songs"), on="song_id", columns=list(datagen.SONG_COLUMNS))
        .sort_within_partitions("timestamp")
        .write("fact_plays", partition_by="date")
    )
    first = job.run(engine="native", memory=memory, threads=threads)
    report.etl_rows_per_s = first.rows_per_s
    report.etl_seconds = first.seconds
    report.etl_full_day_hours = STORY_EVENTS / first.rows_per_s / 3600
    report.fact_columns = len(job.schema())

    # Late events: a different stream over the first two days, after the night has passed.
    late_options = replace(options, seed=options.seed + 1, days=2.0)
    held_back = list(datagen.plays(late, late_options, batch_rows=BATCH_ROWS))
    probe = held_back[-1].slice(held_back[-1].num_rows - 1)
    held_back[-1] = held_back[-1].slice(0, held_back[-1].num_rows - 1)
    ingest.append(batch for batch in held_back if batch.num_rows)
    report.fresh_ms = _measure_fresh(db, listens, probe)
    second = job.run(engine="native", memory=memory, threads=threads)
    report.late_events = second.rows_in
    report.second_run_seconds = second.seconds
    third = job.run(engine="native", memory=memory, threads=threads)
    tell(_act_two(report, first, third))

    start = time.perf_counter()
    result = db.sql(STORY_QUERY)
    rows = result.fetchall()
    report.query_seconds = time.perf_counter() - start
    start = time.perf_counter()
    db.sql(STORY_QUERY).fetchall()
    report.query_warm_seconds = time.perf_counter() - start
    report.query_native = result.metrics.engine == "native"
    report.top = [(str(artist), str(country), int(plays)) for artist, country, plays in rows[:10]]

    unlimited = STORY_QUERY.removesuffix(" LIMIT 100")
    report.events = db.sql("SELECT COUNT(*) FROM listens").fetchall()[0][0]
    report.fact_rows = db.sql("SELECT COUNT(*) FROM fact_plays").fetchall()[0][0]
    report.plays = int(db.sql(f"SELECT SUM(plays) FROM ({unlimited}) AS all_plays").fetchall()[0][0] or 0)
    report.days = db.sql("SELECT COUNT(DISTINCT date) FROM fact_plays").fetchall()[0][0]
    tell(_act_three(report, result))


def _measure_fresh(db: Database, listens: Any, probe: pa.RecordBatch) -> float:
    """Milliseconds from an append returning until a fresh query counts the event."""
    statement = "SELECT COUNT(*) FROM fact_plays"
    before = db.sql(statement, fresh=True).fetchall()[0][0]  # also loads what the first query loads
    (row,), _ = _pieces(probe, 1)
    listens.append(*row)
    start = time.perf_counter()
    while db.sql(statement, fresh=True).fetchall()[0][0] == before:
        if time.perf_counter() - start > 10:
            raise AssertionError("an event was not counted by fresh=True within ten seconds")
    return (time.perf_counter() - start) * 1e3


def _act_one(report: DemoReport, ingest: _Ingest, options: Plays) -> Act:
    # Late events are appended later by the same rules; the figures are those of the main stream.
    report.append_events_per_s = ingest.rows / ingest.seconds
    report.single_appends = len(ingest.single_ns)
    report.batches = len(ingest.batch_ns)
    report.append_p50_ms = _quantile_ms(ingest.single_ns, 0.5)
    report.append_p99_ms = _quantile_ms(ingest.single_ns, 0.99)
    report.append_max_ms = _quantile_ms(ingest.single_ns, 1.0)
    report.batch_p99_ms = _quantile_ms(ingest.batch_ns, 0.99)
    last_day = (options.end - timedelta(seconds=1)).date()
    singles = len(ingest.single_ns)
    return Act(
        "Act 1  events",
        f"{ingest.rows:,} plays of {options.songs:,} songs, {options.start.date()} to {last_day}, "
        f"into 'listens': "
        f"{singles:,} ({singles / ingest.rows:.2%}) one by one, the rest in batches of {BATCH_ROWS:,}; "
        f'durability "{report.durability}"',
        (
            Figure("rate", report.append_events_per_s, "events/s", 100_000, at_least=True),
            Figure(
                "append, p99",
                report.append_p99_ms,
                "ms",
                8,
                note=f"median {report.append_p50_ms:.2f}, worst {report.append_max_ms:.1f}",
            ),
            Figure("batch, p99", report.batch_p99_ms, "ms", 8),
            Figure(
                "bare sync of the disk, p99",
                report.disk_sync_p99_ms,
                "ms",
                note=f"median {report.disk_sync_p50_ms:.2f}: below this no durable append can go",
            ),
        ),
    )


def _act_two(report: DemoReport, first: Any, third: Any) -> Act:
    again = (
        "a third run found nothing new" if third.up_to_date else f"a third run took {third.rows_in:,} more"
    )
    return Act(
        "Act 2  pipeline",
        f"'listens' into {PARTITIONS} partitions by user, joined to 'dim_songs', sorted by time, "
        f"written as 'fact_plays' ({report.fact_columns} columns, a folder for each date); "
        f"then {report.late_events:,} late events in a second run "
        f"({report.second_run_seconds:.2f} s); {again}",
        (
            Figure("rate", report.etl_rows_per_s, "rows/s", note=f"{first.ratio:.1f} : 1 in to out"),
            Figure("8.6 billion events", report.etl_full_day_hours, "h", 3, note="at that rate"),
            Figure("append to fresh=True", report.fresh_ms, "ms", 100),
        ),
    )


def _act_three(report: DemoReport, result: Any) -> Act:
    way = "Segue's kernels" if report.query_native else "DuckDB (delegated)"
    metrics = result.metrics
    read = ""
    if metrics.columns_read is not None and metrics.columns_total:
        read = f", pages of {len(metrics.columns_read)} of {metrics.columns_total} columns read"
    return Act(
        "Act 3  query",
        f"top artists by country over {report.fact_rows:,} rows, run by {way}{read}",
        (Figure("query", report.query_seconds, "s", 2, note=f"again {report.query_warm_seconds:.3f}"),),
    )
