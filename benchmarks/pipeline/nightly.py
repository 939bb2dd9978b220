"""The nightly job: partition by user, join the songs, sort by time inside partitions, write zstd Parquet.

Segue reads its own event store and publishes in one durable commit; the peers read a Parquet file of the same
events and write files that nobody commits or syncs. Digests hold all of them to the same rows in that order.
"""

from __future__ import annotations

import multiprocessing
import statistics
from pathlib import Path
from typing import Any

from benchmarks import meter, workloads
from benchmarks.events.encoding import EVENT_BYTES
from benchmarks.harness import Outcome, Timer
from benchmarks.pipeline import data


def _result(timer: Timer, rows: int, files: list[Path], digest: str, **extra: Any) -> Outcome:
    size = data.size(files)
    figures = {"output_bytes": size, "files": len(files), "compression_ratio": rows * EVENT_BYTES / size}
    return Outcome(timer.seconds, rows, digest, figures | extra)


def store(directory: Path, events: str, songs: str) -> Any:
    import segue

    table = workloads.load(events)
    db = segue.open(directory, durability="os")
    listens = db.create_events("listens", table.schema, key="user_id", time="timestamp")
    for batch in table.to_batches():
        listens.append_batch(batch)
    listens.flush()
    db.put_dimension("dim_songs", workloads.load(songs), key="song_id")
    return db


def job(db: Any, table: str, source: str = "listens", partitions: int = data.PARTITIONS) -> Any:
    import segue

    return (
        db.pipeline(source)
        .repartition(partitions, "user_id")
        .join(segue.broadcast("dim_songs"), on="song_id", columns=list(data.SONG_COLUMNS))
        .sort_within_partitions("timestamp")
        .write(table, partition_by=None)
    )


def fact_files(db: Any, table: str) -> list[Path]:
    return sorted((Path(db.path) / "warehouse" / table).rglob("*.parquet"))


def segue(work: Path, params: dict[str, Any]) -> Outcome:
    """Our job on our store, within ``params["memory"]``; another process has filled the store."""
    import segue as engine

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(fill, (work / "music", params["events"], params["songs"]))
    with engine.open(work / "music", durability="os") as db:
        listens = db.events("listens")
        rows, input_bytes = listens.stats().table_rows, listens.stats().table_bytes
        idle = meter.active.look() if meter.active is not None else None
        timer = Timer(reset_peaks=True)
        with timer:
            report = job(db, "facts").run(memory=params["memory"], threads=params["threads"])
        if 2 * engine_bytes(params["memory"]) < rows * EVENT_BYTES and not report.spilled_bytes:
            raise AssertionError("the events do not fit that memory, and nothing was spilled")
        peak = timer.usage.get("memory_anonymous")
        files = fact_files(db, "facts")
        digest = data.check(files, bucket)
        return _result(
            timer,
            report.rows_out,
            files,
            digest,
            input_bytes=input_bytes,
            spilled_bytes=report.spilled_bytes,
            job_peak_memory=report.peak_memory,
            added_memory=None if idle is None or peak is None else max(0, peak - idle),
        )


def fill(directory: Path, events: str, songs: str) -> None:
    store(directory, events, songs).close()


def engine_bytes(text: str) -> int:
    """Bytes of ``128MiB`` or ``1GiB``."""
    return int(text[:-3]) << {"MiB": 20, "GiB": 30}[text[-3:]]


def segue_threads(work: Path, params: dict[str, Any]) -> Outcome:
    """With one thread and with two, the same events into two tables."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    digests = set()
    with store(work / "music", params["events"], params["songs"]) as db:
        job(db, "warm").run()
        for number in range(params["repeats"]):
            for threads in (1, 2):
                table = f"facts_{threads}_{number}"
                timer = Timer()
                with timer:
                    report = job(db, table).run(threads=threads)
                seconds[threads] += timer.seconds
                digests.add(data.check(fact_files(db, table), bucket))
    if len(digests) != 1:
        raise AssertionError("one thread and two published different rows")
    speedup = statistics.median(seconds[1]) / statistics.median(seconds[2])
    return Outcome(seconds[2], report.rows_out, digests.pop(), {"speedup": speedup})


def bucket(table: Any, partitions: int = data.PARTITIONS) -> Any:
    from segue import kernels

    return kernels.hash_partition(table, partitions, "user_id")


def segue_linear(work: Path, params: dict[str, Any]) -> Outcome:
    """A quarter of the events, then all of them; and from both the seconds of the story's 8.6 billion."""
    seconds = {}
    for share, events in (("quarter", params["quarter"]), ("all", params["events"])):
        timer = Timer()
        with store(work / share, events, params["songs"]) as db:
            job(db, "warm").run(threads=params["threads"])
            for number in range(params["repeats"]):
                with timer:
                    report = job(db, f"facts_{number}").run(threads=params["threads"])
            digest = data.check(fact_files(db, "facts_0"), bucket)
        seconds[share] = (report.rows_out, statistics.median(timer.seconds))
    (few, little), (many, much) = seconds["quarter"], seconds["all"]
    slope = (much - little) / (many - few)
    extra = {
        "times_4": much / little * 4 / (many / few),
        "seconds_per_million": slope * 1e6,
        "story_seconds": little + slope * (8.6e9 - few),
        "points": [[few, little], [many, much]],
    }
    return Outcome([much], many, digest, extra)


def duckdb(work: Path, params: dict[str, Any]) -> Outcome:
    """One file, ordered by bucket and time: COPY with PARTITION_BY does not keep an order."""
    import duckdb as peer

    out = work / "out.parquet"
    columns = ", ".join(f"s.{name}" for name in data.SONG_COLUMNS)
    statement = f"""
        COPY (SELECT e.*, {columns}, hash(e.user_id) % {data.PARTITIONS} AS bucket
              FROM read_parquet('{params["events_parquet"]}') e
              JOIN read_parquet('{params["songs_parquet"]}') s ON e.song_id = s.song_id
              ORDER BY bucket, e.timestamp)
        TO '{out}' (FORMAT parquet, COMPRESSION zstd)
    """
    config = {"threads": params["threads"], "memory_limit": "2GB", "temp_directory": str(work / "spill")}
    with peer.connect(config=config) as connection:
        timer = Timer(reset_peaks=True)
        with timer:
            connection.execute(statement)
    digest = data.check([out], lambda table: table["bucket"].to_numpy())
    return _result(timer, params["rows"], [out], digest)


def polars(work: Path, params: dict[str, Any]) -> Outcome:
    """The streaming engine, to one file a bucket."""
    import polars as pl

    events = pl.scan_parquet(params["events_parquet"])
    songs = pl.scan_parquet(params["songs_parquet"]).select("song_id", *data.SONG_COLUMNS)
    ordered = (
        events.join(songs, on="song_id")
        .with_columns(bucket=pl.col("user_id").hash() % data.PARTITIONS)
        .sort("bucket", "timestamp")
    )
    out = work / "out"
    timer = Timer(reset_peaks=True)
    with timer:
        ordered.sink_parquet(
            pl.PartitionBy(out, key="bucket", include_key=False),
            compression="zstd",
            engine="streaming",
            mkdir=True,
        )
    files = sorted(out.rglob("*.parquet"))
    return _result(timer, params["rows"], files, data.check(files))


def spark(work: Path, params: dict[str, Any]) -> Outcome:
    """The job as the story writes it, in local mode with its own defaults but for memory and threads."""
    from pyspark.sql import SparkSession
    from pyspark.sql.functions import broadcast

    session = (
        SparkSession.builder.master(f"local[{params['threads']}]")
        .config("spark.driver.memory", "8g")
        .config("spark.ui.enabled", "false")
        .config("spark.local.dir", str(work / "spill"))
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.parquet.compression.codec", "zstd")
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    out = work / "out"
    songs = session.read.parquet(params["songs_parquet"]).select("song_id", *data.SONG_COLUMNS)
    timer = Timer(reset_peaks=True)
    with timer:
        (
            session.read.parquet(params["events_parquet"])
            .repartition(data.PARTITIONS, "user_id")
            .join(broadcast(songs), "song_id")
            .sortWithinPartitions("timestamp")
            .write.parquet(str(out))
        )
    files = sorted(out.rglob("*.parquet"))
    digest = data.check(files)
    session.stop()
    return _result(timer, params["rows"], files, digest)
