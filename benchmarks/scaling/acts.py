"""What the curves measure. A contender measures all points of its curve in one process, in turns."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks import workloads
from benchmarks.harness import Outcome, Timer
from benchmarks.pipeline import data, nightly
from benchmarks.query.contenders import digest
from benchmarks.query.engines import open_engine
from benchmarks.query.statements import TOP_ARTISTS
from benchmarks.scaling import curves

BATCH_ROWS = 1000


def append_by_rows(work: Path, params: dict[str, Any]) -> Outcome:
    """Batches of 1000 into an empty store, by how many; flushes included that fall into it."""
    import segue

    table = workloads.load(params["events"])
    sent = workloads.batches(table, BATCH_ROWS)
    stored = []

    def once(rows: int) -> float:
        with segue.open(work / "db", durability="os") as db:
            events = db.create_events("events", table.schema, key="user_id", time="timestamp")
            with Timer() as timer:
                for batch in sent[: rows // BATCH_ROWS]:
                    events.append_batch(batch)
                events.flush()
            stored.append(events.stats().sequence == rows)
        shutil.rmtree(work / "db")
        return timer.seconds[0]

    seconds = curves.measure(params["xs"], params["repeats"], once)
    if not all(stored):
        raise AssertionError("a store does not hold what was appended to it")
    return _outcome(seconds, str(len(stored)), linear=True)


def nightly_curves(work: Path, params: dict[str, Any]) -> Outcome:
    """The nightly job by rows, by partitions and by threads: three curves in ``Outcome.extra``.

    Partitions and threads change the order of the output, never its rows.
    """
    import segue

    table, most = workloads.load(params["events"]), params["rows"]
    digests: dict[tuple[int, str], str] = {}
    with segue.open(work / "db", durability="os") as db:
        db.put_dimension("dim_songs", workloads.load(params["songs"]), key="song_id")
        for rows in params["rows_xs"]:
            events = db.create_events(f"listens_{rows}", table.schema, key="user_id", time="timestamp")
            for batch in workloads.batches(table.slice(0, rows), 10 * BATCH_ROWS):
                events.append_batch(batch)
            events.flush()

        def once(
            rows: int = most, partitions: int = data.PARTITIONS, threads: int = params["threads"]
        ) -> float:
            target = f"facts_{time.monotonic_ns()}"
            with Timer() as timer:
                report = nightly.job(db, target, f"listens_{rows}", partitions).run(threads=threads)
            if report.rows_out != rows:
                raise AssertionError(f"{rows} events gave {report.rows_out} facts")
            kind = f"{partitions} partitions, {threads} threads"
            if (rows, kind) not in digests:
                files = nightly.fact_files(db, target)
                digests[rows, kind] = data.check(files, lambda facts: nightly.bucket(facts, partitions))
            return timer.seconds[0]

        once()  # the very first run loads libraries
        curves_of = {
            "rows": curves.measure(params["rows_xs"], params["repeats"], lambda x: once(rows=x)),
            "partitions": curves.measure(
                params["partitions_xs"], params["repeats"], lambda x: once(partitions=x)
            ),
            "threads": curves.measure(params["threads_xs"], params["repeats"], lambda x: once(threads=x)),
        }
    if len({digest for (rows, _), digest in digests.items() if rows == most}) != 1:
        raise AssertionError(f"the job published different rows: {digests}")
    extra: dict[str, Any] = {}
    for name, seconds in curves_of.items():
        extra[f"{name}_seconds_each"] = seconds[max(seconds)]
        extra[f"{name}_curve"] = curves.facts(seconds, linear=name == "rows")
    return Outcome([], most, next(iter(digests.values())), extra)


def query_by_rows(work: Path, params: dict[str, Any]) -> Outcome:
    """The story's query over the last days of 31: the more days, the more rows."""
    engine = open_engine(params["engine"], params["facts"], params["dimensions"], params["threads"])
    rows, answers = {}, []
    for days in params["days"]:
        since = f"2024-01-{32 - days:02d}"
        counted = engine.rows(f"SELECT COUNT(*) FROM fact_plays WHERE date >= DATE '{since}'")
        rows[int(counted[0][0])] = TOP_ARTISTS.replace("2024-01-01", since)

    def once(x: int) -> float:
        with Timer() as timer:
            answer = engine.rows(rows[x])
        answers.append(f"{x} {digest(answer)}")
        return timer.seconds[0]

    for x in rows:
        once(x)  # warm
    seconds = curves.measure(list(rows), params["repeats"], once)
    return _outcome(seconds, _only(answers, len(rows)), linear=True)


def query_by_threads(work: Path, params: dict[str, Any]) -> Outcome:
    """The story's query over all days."""
    engines = {
        n: open_engine(params["engine"], params["facts"], params["dimensions"], n) for n in params["xs"]
    }
    answers = []

    def once(x: int) -> float:
        with Timer() as timer:
            answer = engines[x].rows(TOP_ARTISTS)
        answers.append(digest(answer))
        return timer.seconds[0]

    for x in params["xs"]:
        once(x)
    seconds = curves.measure(params["xs"], params["repeats"], once)
    return _outcome(seconds, _only(answers, 1), rows=params["rows"])


def query_by_groups(work: Path, params: dict[str, Any]) -> Outcome:
    """Counts by a column of so many values, over as many rows each time."""
    run = _grouping(params)
    answers = []

    def once(x: int) -> float:
        statement = f"SELECT k{x} AS k, COUNT(*) AS n FROM t GROUP BY k{x} ORDER BY n DESC, k LIMIT 100"
        with Timer() as timer:
            answer = run(statement)
        answers.append(f"{x} {digest(answer)}")
        return timer.seconds[0]

    for x in params["xs"]:
        once(x)
    seconds = curves.measure(params["xs"], params["repeats"], once)
    return _outcome(seconds, _only(answers, len(params["xs"])), rows=params["rows"])


def _grouping(params: dict[str, Any]) -> Any:
    if params["engine"] == "duckdb":
        import duckdb

        connection = duckdb.connect(config={"threads": params["threads"]})
        connection.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet('{params['groups']}')")
        return lambda statement: connection.execute(statement).fetchall()
    import segue

    tables = {"t": params["groups"]}
    return lambda statement: segue.sql(statement, tables, threads=params["threads"], strict=True).fetchall()


def _only(answers: list[str], different: int) -> str:
    """Digest of all answers, of which there must be so many different ones however often they were asked."""
    found = sorted(set(answers))
    if len(found) != different:
        raise AssertionError(f"the answers changed from one time to the next: {found}")
    return "; ".join(found)


def _outcome(
    seconds: dict[float, list[float]], text: str, *, linear: bool = False, rows: int | None = None
) -> Outcome:
    last = max(seconds)
    return Outcome(seconds[last], int(rows or last), text, curves.facts(seconds, linear))
