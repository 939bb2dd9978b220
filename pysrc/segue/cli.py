"""The command ``segue``: demo, ingest, etl, sql, stats, verify.

Results go to standard output: readable tables, or with ``--json`` one JSON object and nothing
else. Progress, notes and errors go to standard error. Exit status: 0 done, 1 failed (one line
says why), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import functools
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec

import typer

import segue
from segue.cli_output import Output
from segue.errors import Error, InvalidError, LockedError, ReadOnlyError

if TYPE_CHECKING:
    from segue.database import Database

P = ParamSpec("P")
app = typer.Typer(
    name="segue",
    help="An embedded event engine: take events in, reshape them every night, query them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Durability(StrEnum):
    """What an append survives."""

    commit = "commit"
    interval = "interval"
    os = "os"

    @property
    def level(self) -> Literal["commit", "interval", "os"]:
        """As `segue.open` takes it."""
        return self.value


DatabaseArgument = Annotated[
    Path, typer.Argument(metavar="DB", help="The database: a directory.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")]
MemoryOption = Annotated[
    str, typer.Option(metavar="SIZE", help='Memory budget, such as "512MiB"; at least 64MiB.')
]
ThreadsOption = Annotated[int, typer.Option(min=1, help="Threads.")]


def _guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Turn errors into one line and an exit status. Bugs keep their traceback."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            _complain("interrupted; what was committed before stays")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # The reader went away (`| head`). Python would complain when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except (Error, OSError) as error:
            _complain(_message(error))
            raise typer.Exit(1) from None

    return guarded


def _message(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        # Without the number, and without a path that the message has named already.
        text = error.strerror
        if error.filename and str(error.filename) not in text:
            text = f"{error.filename}: {text}"
    return " ".join(text.split()) or type(error).__name__


def _complain(message: str) -> None:
    print(f"segue: {message}", file=sys.stderr)


def _print_json(value: dict[str, Any]) -> None:
    from segue.cli_output import plain

    print(json.dumps(plain(value), ensure_ascii=False, allow_nan=False))


def _version(wanted: bool) -> None:
    if wanted:
        print(f"segue {segue.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog="Examples:\n\n[bold]segue demo[/]\n\n[bold]segue demo --events 200000 --dir /data/demo --json[/]"
)
@_guarded
def demo(
    events: Annotated[int, typer.Option(min=100, help="Number of events.")] = 1_000_000,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            metavar="DIR",
            help="Where the database goes; a temporary directory, which is kept, without it.",
        ),
    ] = None,
    durability: Annotated[
        Durability, typer.Option(help="What an acknowledged append survives.")
    ] = Durability.commit,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives another stream.")] = 42,
    memory: MemoryOption = "1GiB",
    threads: ThreadsOption = 2,
    as_json: JsonOption = False,
) -> None:
    """Send a realistic stream of plays through all three acts, and measure them."""
    from segue.demo import STORY_QUERY, run_demo

    output = Output(quiet=as_json)
    output.note(f"{events:,} plays; each act with what it measured, and its budget.")
    report = run_demo(
        events,
        directory,
        durability=durability.level,
        seed=seed,
        memory=memory,
        threads=threads,
        on_act=output.act,
    )
    if as_json:
        _print_json(report.to_dict())
    else:
        output.table(["artist", "country", "plays"], report.top, title="Top artists by country")
        verdict = "agree" if report.conserved else "DO NOT AGREE"
        output.line(
            f"{report.events:,} events, {report.fact_rows:,} fact rows and {report.plays:,} plays {verdict}; "
            f"{report.seconds:.1f} s in all."
        )
        kept = "" if directory else " (kept; remove it when you are done)"
        output.line(
            f"The database is in {report.path}{kept}: events/listens, warehouse/fact_plays. Ask it more:"
        )
        output.line(f'  segue sql {report.path} "{STORY_QUERY}"')
    if not report.conserved:
        raise InvalidError(
            f"events were lost or counted twice: {report.events:,} events, {report.fact_rows:,} fact rows, "
            f"{report.plays:,} plays. The database is kept in {report.path}"
        )


def _pairs(values: list[str]) -> dict[str, str]:
    pairs = {}
    for value in values:
        name, equals, kind = value.partition("=")
        if not (name and equals and kind):
            raise typer.BadParameter(f"{value!r} is not COLUMN=TYPE", param_hint="--type")
        pairs[name] = kind
    return pairs


@contextmanager
def _gone_if_unused(db: Path) -> Iterator[None]:
    """Remove a database that was made for an import that failed: a typing error leaves nothing behind."""
    existed = db.exists()
    try:
        yield
    except BaseException:
        if not existed and db.is_dir():
            with segue.open(db, mode="r") as made:
                unused = not made.catalog.read().names()
            if unused:
                shutil.rmtree(db, ignore_errors=True)
        raise


def _names(value: str | None) -> list[str] | None:
    return [name.strip() for name in value.split(",") if name.strip()] if value else None


@app.command(
    epilog="Examples:\n\n[bold]segue ingest music my_spotify_data.zip[/]\n\n"
    "[bold]segue ingest shop orders-*.csv.gz --table orders --key customer --time at[/]\n\n"
    "[bold]segue ingest iot readings.ndjson --key sensor --time ts --time-unit ms[/]"
)
@_guarded
def ingest(
    db: DatabaseArgument,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Parquet, CSV, TSV, NDJSON or Arrow files, or folders of them; or Spotify's "
            '"Extended streaming history": the zip, its folder, or files of it.',
            show_default=False,
        ),
    ],
    table: Annotated[
        str | None, typer.Option(help='Event table.  [dim]\\[default: events, or "listens" for Spotify][/]')
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="COLUMN[,COLUMN]", help="Key, when the table is new.")
    ] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="Time, when the table is new.")] = None,
    time_unit: Annotated[
        str | None,
        typer.Option(metavar="s|ms|us|ns", help="What a number in the time column counts since 1970."),
    ] = None,
    time_format: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help='strptime format, such as "%d/%m/%Y %H:%M"; not for ISO 8601.'),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="COLUMN[,COLUMN]", help="Take these columns only, and key and time.")
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type", metavar="COLUMN=TYPE", help="Arrow type of a CSV or NDJSON column. May be repeated."
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        str | None, typer.Option(metavar="FORMAT", help="Where the file does not tell: csv, tsv, ndjson ...")
    ] = None,
    user: Annotated[
        str | None, typer.Option(help='Spotify: the user, where files name none.  [dim]\\[default: "me"][/]')
    ] = None,
    durability: Annotated[
        Durability, typer.Option(help="What an acknowledged event survives.")
    ] = Durability.commit,
    as_json: JsonOption = False,
) -> None:
    """Import files into an event table. Importing the same file again adds nothing."""
    from segue import importers

    output = Output(quiet=as_json)
    with (
        _gone_if_unused(db),
        segue.open(db, durability=durability.level, progress=output.live) as database,
        output.import_progress() as progress,
    ):
        report = importers.ingest(
            database,
            files,
            table,
            _names(key),
            time,
            format=format,
            time_unit=time_unit,
            time_format=time_format,
            columns=_names(columns),
            types=_pairs(types) if types else None,
            user=user,
            progress=progress,
        )
    if as_json:
        _print_json(report.to_dict())
        return
    output.import_report(report)
    if report.pipeline:
        output.line(f"Next: segue etl {db}   fills the fact table {report.pipeline!r}")


@app.command(
    epilog="Examples:\n\n[bold]segue etl music[/]\n\n[bold]segue etl music fact_plays --memory 128MiB[/]\n\n"
    "[bold]segue etl shop --from orders --into fact_orders --partition-by month --sort-by at[/]"
)
@_guarded
def etl(
    db: DatabaseArgument,
    pipeline: Annotated[
        str | None,
        typer.Argument(help="A fact table or pipeline; all of them without it.", show_default=False),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="EVENTS", help="Define a pipeline from here")
    ] = None,
    into: Annotated[str | None, typer.Option(metavar="TABLE", help="into this fact table.")] = None,
    partition_by: Annotated[
        str | None,
        typer.Option(
            metavar="date|month|hour|none|COLUMN[,COLUMN]",
            help="Folders of the new fact table.  [dim]\\[default: date][/]",
        ),
    ] = None,
    sort_by: Annotated[
        str | None, typer.Option(metavar="COLUMN[,COLUMN]", help="Order within its files.")
    ] = None,
    memory: MemoryOption = "1GiB",
    threads: ThreadsOption = 2,
    as_json: JsonOption = False,
) -> None:
    """Run the pipelines that the database remembers: events that came since go to the warehouse."""
    if (source is None) != (into is None):
        raise typer.BadParameter("--from and --into go together", param_hint="--from")
    if source is None and (partition_by or sort_by):
        raise typer.BadParameter(
            "--partition-by and --sort-by belong to --from and --into", param_hint="--from"
        )
    if source is not None and pipeline is not None:
        raise typer.BadParameter(
            "name a pipeline, or define one with --from and --into", param_hint="PIPELINE"
        )
    output = Output(quiet=as_json)
    with _open_for_run(db, output) as database:
        if source is not None and into is not None:
            builder = database.pipeline(source)
            if sort_by:
                builder = builder.sort_within_partitions(*(_names(sort_by) or []))
            by = partition_by or "date"
            folders = {"none": None}.get(by, by if by in ("date", "month", "hour") else _names(by))
            jobs = [builder.write(into, partition_by=folders)]
        else:
            names = [pipeline] if pipeline else list(database.pipelines())
            if not names:
                tables = ", ".join(database.events()) or "none yet"
                raise InvalidError(
                    f"{db} knows no pipeline. Define one from its events ({tables}): "
                    f"segue etl {db} --from EVENTS --into TABLE --partition-by date, "
                    "or with db.pipeline() in Python"
                )
            jobs = [database.pipeline_named(name) for name in names]
        reports = [job.run(memory=memory, threads=threads, progress=output.live) for job in jobs]
    if as_json:
        _print_json({"runs": [report.to_json() for report in reports]})
    else:
        for report in reports:
            output.line(str(report))


def _open_existing(path: Path, mode: Literal["rw", "r"], output: Output) -> Database:
    """Open a database that must be there: only `ingest` and `demo` make one."""
    from segue.catalog import Catalog

    # What has lost its catalog, or is a file, `segue.open` says best.
    empty = not path.exists() or (path.is_dir() and not (path / "events").exists())
    if empty and not Catalog(path).exists():
        what = "it is another folder" if path.exists() else "there is no such folder"
        raise InvalidError(
            f"no Segue database at {str(path)!r}: {what}; `segue ingest` and `segue demo --dir` make one"
        )
    return segue.open(path, mode=mode, progress=output.live)


def _open_for_run(path: Path, output: Output) -> Database:
    """Open for a pipeline: as the writer, or beside it if a service has the events open."""
    database = _open_existing(path, "rw", output)
    try:
        for name in database.events():
            database.events(name)
    except (LockedError, ReadOnlyError) as error:
        database.close()
        output.note(f"reading beside the writer ({_message(error)})")
        return _open_existing(path, "r", output)
    except BaseException:
        database.close()
        raise
    return database


@app.command(
    epilog='Examples:\n\n[bold]segue sql music "SELECT COUNT(*) FROM listens"[/]\n\n'
    '[bold]segue sql music --fresh --explain "SELECT artist_id, COUNT(*) FROM fact_plays GROUP BY 1"[/]\n\n'
    "[bold]segue sql music - < report.sql[/]"
)
@_guarded
def sql(
    db: DatabaseArgument,
    statement: Annotated[
        str, typer.Argument(help='One statement; "-" reads it from standard input.', show_default=False)
    ],
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Count events that no run has taken yet, too.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show how it would run, and do not run it.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail rather than delegate to DuckDB.")] = False,
    max_rows: Annotated[int, typer.Option(min=0, help="Rows to print; 0 is all. --json prints all.")] = 100,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; as many as cores without it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a SQL statement over fact tables, dimensions and event tables."""
    text = sys.stdin.read() if statement == "-" else statement
    output = Output(quiet=as_json)
    with _open_existing(db, "rw" if _is_insert(text) else "r", output) as database:
        if explain:
            plan = database.explain(text, fresh=fresh)
            if as_json:
                _print_json(plan.to_dict())
            else:
                output.line(str(plan))
            return
        result = database.sql(text, fresh=fresh, strict=strict, threads=threads)
    if as_json:
        _print_json(
            {
                "columns": list(result.columns),
                "types": list(result.types),
                "rows": result.fetchall(),
                "metrics": result.metrics.to_dict(),
            }
        )
    else:
        output.result(result, max_rows)


def _is_insert(statement: str) -> bool:
    bare = re.sub(r"--[^\n]*|/\*.*?\*/", " ", statement, flags=re.DOTALL)
    return bare.split(None, 1)[:1] != [] and bare.split(None, 1)[0].lower() == "insert"


@app.command(epilog="Example:\n\n[bold]segue stats music[/]")
@_guarded
def stats(db: DatabaseArgument, as_json: JsonOption = False) -> None:
    """Show what a database holds, how large it is, and what the next run will take."""
    from segue.inspection import database_stats

    output = Output(quiet=as_json)
    with _open_existing(db, "r", output) as database:
        found = database_stats(database)
    if as_json:
        _print_json(found)
    else:
        output.stats(found)


@app.command(epilog="Example:\n\n[bold]segue verify music[/]")
@_guarded
def verify(db: DatabaseArgument, as_json: JsonOption = False) -> None:
    """Read everything and check it: checksums of events, rows and order of fact files."""
    from segue.inspection import verify_database

    output = Output(quiet=as_json)
    with _open_existing(db, "r", output) as database:
        checks = verify_database(database)
    failed = [check for check in checks if check["error"]]
    if as_json:
        _print_json({"ok": not failed, "checks": checks})
    else:
        output.checks(checks)
    if failed:
        raise InvalidError(f"{len(failed)} of {len(checks)} tables are damaged: {failed[0]['error']}")


def main() -> None:
    """Run the command line; the entry point of ``segue``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a check mark must not end a run on a plain terminal
    app(prog_name="segue")
