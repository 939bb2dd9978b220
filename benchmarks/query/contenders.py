"""Contenders of the query groups: statements timed warm, a first query, and the way from append to answer."""

from __future__ import annotations

import datetime as dt
import hashlib
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.harness import Outcome, Timer, percentiles
from benchmarks.query.engines import open_engine
from benchmarks.query.statements import DELEGATED, STATEMENTS


def digest(rows: Sequence[tuple[Any, ...]]) -> str:
    """Hash of an answer: in order, sums exact, averages to nine digits."""
    return hashlib.blake2b(
        repr([tuple(map(_plain, row)) for row in rows]).encode(), digest_size=8
    ).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    return value.decode() if isinstance(value, bytes) else value


def statements(work: Path, params: dict[str, Any]) -> Outcome:
    """Each statement of ``params["names"]``: once untimed, then ``repeats`` times."""
    engine = open_engine(params["engine"], params["facts"], params["dimensions"], params["threads"])
    extra: dict[str, Any] = {}
    hashes = []
    first: list[float] = []
    for name in params["names"]:
        text = DELEGATED if name == "delegated" else STATEMENTS[name]
        answer = engine.rows(text)
        timer = Timer(reset_peaks=True)
        for _ in range(params["repeats"]):
            with timer:
                answer = engine.rows(text)
        hashes.append(f"{name} {len(answer)} {digest(answer)}")
        extra[f"{name}_seconds_each"], extra[f"{name}_usage"] = timer.seconds, timer.usage
        extra |= {f"{name} {key}": value for key, value in engine.figures().items()}
        first = first or timer.seconds
    return Outcome(first, params["rows"], "; ".join(hashes), extra)


def threads(work: Path, params: dict[str, Any]) -> Outcome:
    """The story's query with one thread and with two, alternating."""
    one, two = (open_engine(params["engine"], params["facts"], params["dimensions"], n) for n in (1, 2))
    text = STATEMENTS["top-artists"]
    timers = (Timer(), Timer())
    answers = [engine.rows(text) for engine in (one, two)]
    for _ in range(params["repeats"]):
        for engine, timer in zip((one, two), timers, strict=True):
            with timer:
                engine.rows(text)
    if answers[0] != answers[1]:
        raise AssertionError("one thread and two gave different answers")
    speedup = statistics.median(timers[0].seconds) / statistics.median(timers[1].seconds)
    return Outcome(timers[1].seconds, params["rows"], digest(answers[0]), {"speedup": speedup})


def bytes_read(work: Path, params: dict[str, Any]) -> Outcome:
    """Bytes that the story's query read, over those of the two columns' pages in the footers."""
    import pyarrow.parquet as pq

    engine = open_engine(params["engine"], params["facts"], params["dimensions"], params["threads"])
    timer = Timer()
    with timer:
        answer = engine.rows(STATEMENTS["last-week"])
    needed = 0
    for file in Path(params["facts"]).glob("date=*/*.parquet"):
        if file.parent.name < "date=2024-01-25":
            continue
        footer = pq.read_metadata(file)
        for group in range(footer.num_row_groups):
            for column in range(footer.num_columns):
                chunk = footer.row_group(group).column(column)
                if chunk.path_in_schema in ("artist_id", "country"):
                    needed += chunk.total_compressed_size
    figures = engine.figures()
    extra = {
        "bytes_read": figures["bytes_read"],
        "bytes_needed": needed,
        "ratio": figures["bytes_read"] / needed,
    }
    return Outcome(timer.seconds, params["rows"], digest(answer), extra)


_FIRST = """
import time
began = time.perf_counter()
import sys
import segue
with segue.open(sys.argv[1], mode="r") as db:
    db.sql(sys.argv[2]).fetchall()
    first = time.perf_counter() - began
    warm = []
    for _ in range(5):
        began = time.perf_counter()
        db.sql(sys.argv[2]).fetchall()
        warm.append(time.perf_counter() - began)
print(first, sorted(warm)[2])
"""


def first_query(work: Path, params: dict[str, Any]) -> Outcome:
    """A fresh process: import, open and the story's query, less what it takes warm."""
    database = str(Path(params["facts"]).parents[1])
    differences, extra = [], {}
    for _ in range(params["repeats"]):
        done = subprocess.run(
            [sys.executable, "-c", _FIRST, database, STATEMENTS["top-artists"]],
            capture_output=True,
            text=True,
            check=True,
        )
        first, warm = map(float, done.stdout.split())
        differences.append(max(first - warm, 0.0))
        extra = {"first_seconds": first, "warm_seconds": warm}
    return Outcome(differences, params["rows"], "", extra)


def fresh(work: Path, params: dict[str, Any]) -> Outcome:
    """From append returning to the event being counted by ``sql(..., fresh=True)``, over a full warehouse."""
    import segue
    from benchmarks.query import data
    from segue import datagen

    plays = data.options(params["rows"])
    statement = "SELECT COUNT(*) FROM fact_plays"
    with segue.open(work / "music") as db:
        listens = db.create_events("listens", datagen.PLAYS_SCHEMA, key="user_id", time="timestamp")
        listens.append_batch(datagen.plays_table(params["rows"], plays))
        db.put_dimension("dim_songs", datagen.dim_songs(plays), key="song_id")
        job = (
            db.pipeline("listens")
            .join(segue.broadcast("dim_songs"), on="song_id", columns=list(datagen.SONG_COLUMNS))
            .write("fact_plays")
        )
        job.run()
        rows = list(datagen.plays_table(params["events"], plays).to_pylist())
        count = db.sql(statement, fresh=True).fetchall()[0][0]
        waits = []
        for row in rows:
            listens.append(**row)
            began = time.perf_counter()
            while db.sql(statement, fresh=True).fetchall()[0][0] == count:
                pass
            waits.append(time.perf_counter() - began)
            count += 1
    if count != params["rows"] + len(rows):
        raise AssertionError(f"{count} facts of {params['rows'] + len(rows)} events")
    return Outcome(waits, len(rows), f"{count}", percentiles(waits))
