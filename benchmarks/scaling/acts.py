"""What the curves measure. A contender measures all points of its curve in one process, in turns."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import workloads
from benchmarks.harness import Outcome, Timer
from benchmarks.pipeline import data, nightly
from benchmarks.query.contenders import digest
from benchmarks.query.engines import Engine, open_engine
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
    most = params["xs"][-1]
    return Outcome(seconds[most], most, f"{len(stored)} stores", curves.facts(seconds, linear=True))


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
    return Outcome([], most, next(iter(digests.values())), _entries(curves_of))


def query_curves(work: Path, params: dict[str, Any]) -> Outcome:
    """By rows and by threads the story's query, by groups counts of a column of so many values; warm."""
    answers: dict[str, str] = {}

    def curve(xs: Sequence[int], ask: Callable[[int], list[tuple[Any, ...]]]) -> dict[float, list[float]]:
        def once(x: int) -> float:
            with Timer() as timer:
                answer = ask(x)
            if answers.setdefault(f"{ask.__name__} {x}", digest(answer)) != digest(answer):
                raise AssertionError(f"{ask.__name__} {x} was answered in two ways")
            return timer.seconds[0]

        for x in xs:
            once(x)
        return curves.measure(xs, params["repeats"], once)

    def engine(threads: int) -> Engine:
        return open_engine(params["engine"], params["facts"], params["dimensions"], threads)

    widest, engines = engine(params["threads"]), {n: engine(n) for n in params["threads_xs"]}
    statements = {}
    for days in params["days"]:  # the last days of 31: the more days, the more rows
        since = f"2024-01-{32 - days:02d}"
        counted = widest.rows(f"SELECT COUNT(*) FROM fact_plays WHERE date >= DATE '{since}'")
        statements[int(counted[0][0])] = TOP_ARTISTS.replace("2024-01-01", since)
    run = _grouping(params)

    def rows(x: int) -> list[tuple[Any, ...]]:
        return widest.rows(statements[x])

    def threads(x: int) -> list[tuple[Any, ...]]:
        return engines[x].rows(TOP_ARTISTS)

    def groups(x: int) -> list[tuple[Any, ...]]:
        return run(f"SELECT k{x} AS k, COUNT(*) AS n FROM t GROUP BY k{x} ORDER BY n DESC, k LIMIT 100")

    curves_of = {
        "rows": curve(list(statements), rows),
        "threads": curve(params["threads_xs"], threads),
        "groups": curve(params["groups_xs"], groups),
    }
    if len({answer for name, answer in answers.items() if name.startswith("threads ")}) != 1:
        raise AssertionError("the number of threads changed the answer")
    text = "; ".join(f"{name} {answer}" for name, answer in answers.items())
    return Outcome([], params["rows"], text, _entries(curves_of))


def _grouping(params: dict[str, Any]) -> Callable[[str], list[tuple[Any, ...]]]:
    if params["engine"] == "duckdb":
        import duckdb

        connection = duckdb.connect(config={"threads": params["threads"]})
        connection.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet('{params['groups']}')")
        return lambda statement: connection.execute(statement).fetchall()
    import segue

    tables = {"t": params["groups"]}
    return lambda statement: segue.sql(statement, tables, threads=params["threads"], strict=True).fetchall()


def _entries(curves_of: dict[str, dict[float, list[float]]]) -> dict[str, Any]:
    """For each curve its samples at the largest x, and its points and slope."""
    extra: dict[str, Any] = {}
    for name, seconds in curves_of.items():
        extra[f"{name}_seconds_each"] = seconds[max(seconds)]
        extra[f"{name}_curve"] = curves.facts(seconds, linear=name == "rows")
    return extra
