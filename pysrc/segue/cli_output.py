"""How the command line looks: tables, progress, plain JSON values, with rich."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from segue.demo import Act, Figure
    from segue.importers import ImportReport, Progress
    from segue.result import Result

__all__ = ["Output", "plain", "size"]

CELL = 60


def plain(value: Any) -> Any:
    """Return a value as JSON has it: dates as ISO 8601, decimals and what JSON lacks as text.

    Examples
    --------
    >>> plain({"a": [Decimal("1.50"), date(2024, 1, 31), float("nan"), b"ab"]})
    {'a': ['1.50', '2024-01-31', 'NaN', '6162']}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Decimal | timedelta):
        return str(value)
    return str(value)


def size(count: float) -> str:
    """Return a number of bytes for people.

    Examples
    --------
    >>> size(0), size(1536), size(5 << 30)
    ('0 B', '1.5 KiB', '5.0 GiB')
    """
    unit = 0
    while count >= 1024 and unit < 4:
        count /= 1024
        unit += 1
    return f"{count:.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}" if unit else f"{count:.0f} B"


def _cell(value: Any, cut: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    text = str(plain(value)) if not isinstance(value, str) else value
    text = text.replace("\n", "\\n").replace("\r", "\\r")
    return text[: CELL - 1] + "…" if cut and len(text) > CELL else text


class Output:
    """Standard output for results, standard error for what passes.

    Parameters
    ----------
    quiet
        Print no results: the caller prints JSON.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        # In a pipe rich would wrap at 80 columns, and cut what grep is looking for.
        self._out = Console(highlight=False, emoji=False, soft_wrap=True)
        if not self._out.is_terminal:
            self._out.width = 10_000
        self._err = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
        self.live = self._err.is_terminal and not quiet
        """Whether progress bars are seen by anyone."""

    def line(self, text: str) -> None:
        """Print a line of the result."""
        if not self._quiet:
            self._out.print(text, markup=False)

    def note(self, text: str) -> None:
        """Say something that is not the result."""
        if not self._quiet:
            self._err.print(text, markup=False, style="dim")

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        *,
        title: str = "",
        numeric: set[int] | None = None,
    ) -> None:
        """Print rows; columns of numbers stand to the right."""
        if self._quiet:
            return
        if numeric is None:
            numeric = {
                index
                for index in range(len(columns))
                if rows
                and all(isinstance(row[index], int | float | Decimal) or row[index] is None for row in rows)
            }
        table = Table(
            title=escape(title) or None, title_justify="left", title_style="bold", box=None, pad_edge=False
        )
        for index, name in enumerate(columns):
            table.add_column(
                escape(name), justify="right" if index in numeric else "left", header_style="bold"
            )
        for row in rows:
            table.add_row(*(Text(_cell(value, self._out.is_terminal)) for value in row))
        self._out.print(table)

    def act(self, act: Act) -> None:
        """Print an act of the demo with its figures beside their budgets."""
        if self._quiet:
            return
        self._out.print()
        self._out.print(f"[bold]{escape(act.title)}[/]  {escape(act.text)}")
        rows = []
        for figure in act.figures:
            rows.append([figure.name, _measure(figure), _budget(figure), figure.note])
        table = Table(box=None, show_header=False, pad_edge=True)
        for justify in ("left", "right", "left", "left"):
            table.add_column(justify=justify)
        for row, figure in zip(rows, act.figures, strict=True):
            style = {True: "green", False: "red", None: ""}[figure.within]
            table.add_row(
                row[0], Text(row[1], style="bold"), Text(row[2], style=style), Text(row[3], style="dim")
            )
        self._out.print(table)

    def result(self, result: Result, max_rows: int) -> None:
        """Print the rows of a query."""
        table = result.to_arrow()
        shown = table.slice(0, max_rows) if max_rows else table
        import pyarrow as pa

        kinds = [field.type for field in table.schema]
        numeric = {
            index
            for index, kind in enumerate(kinds)
            if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        }
        columns = [column.to_pylist() for column in shown.columns]
        self.table(result.columns, list(zip(*columns, strict=True)), numeric=numeric)
        if table.num_rows > shown.num_rows:
            self.note(f"... {table.num_rows - shown.num_rows:,} more rows; --max-rows 0 prints all")
        metrics = result.metrics
        read = "" if metrics.bytes_read is None else f", {size(metrics.bytes_read)} read"
        self.note(f"{table.num_rows:,} rows, {metrics.engine}, {metrics.seconds * 1e3:.1f} ms{read}")

    @contextmanager
    def import_progress(self) -> Iterator[Callable[[Progress], None] | None]:
        """Show how far an import has come, while the block runs."""
        if not self.live:
            yield None
            return
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TextColumn("{task.fields[rows]:,} rows"),
            TimeRemainingColumn(),
            console=self._err,
            transient=True,
        )
        with ExitStack() as shown:
            task = bar.add_task("", rows=0)

            def update(step: Progress) -> None:
                if not bar.live.is_started:  # not before: until then opening the table may show a bar
                    shown.enter_context(bar)
                name = step.path.rsplit("/", 1)[-1]
                bar.update(
                    task,
                    description=f"{step.phase} {escape(name)}",
                    completed=step.done,
                    total=step.total,
                    rows=step.rows,
                )

            yield update

    def import_report(self, report: ImportReport) -> None:
        """Print what an import did."""
        made = " (new)" if report.created else ""
        rate = f" ({report.rows / report.seconds:,.0f} rows/s)" if report.seconds > 0 else ""
        self.line(f"{report.added:,} events added to {report.table}{made}")
        if report.stored_before:
            self.line(f"{report.stored_before:,} were there already")
        for reason, count in report.skipped.most_common():
            self.line(f"{count:,} row{'s' if count != 1 else ''} skipped: {reason}")
        for name, count in report.dimensions.items():
            self.line(f"{count:,} rows added to {name}")
        files = f"{len(report.files)} file{'s' if len(report.files) != 1 else ''}"
        self.line(f"{report.rows:,} rows read from {files} in {report.seconds:.1f} s{rate}")
        for note in report.notes:
            self.note(f"note: {note}")

    def stats(self, found: Mapping[str, Any]) -> None:
        """Print what `segue.inspection.database_stats` found."""
        self.line(f"{found['path']}  {size(found['bytes'])}")
        if found["events"]:
            self.line("")
            self.table(
                ["events", "rows", "size", "key", "time", "columns", "in memory", "SSTables"],
                [
                    [
                        name,
                        f"{table['events']:,}",
                        size(table["bytes"]),
                        ", ".join(table["key"]),
                        table["time"],
                        len(table["columns"]),
                        f"{table['store']['skiplist_rows'] + table['store']['run_rows']:,}",
                        table["store"]["tables"],
                    ]
                    for name, table in found["events"].items()
                ],
                numeric={1, 2, 5, 6, 7},
            )
        if found["dimensions"]:
            self.line("")
            self.table(
                ["dimension", "rows", "size", "key"],
                [
                    [name, f"{table['rows']:,}", size(table["bytes"]), table["key"]]
                    for name, table in found["dimensions"].items()
                ],
                numeric={1, 2},
            )
        if found["facts"]:
            self.line("")
            self.table(
                ["fact table", "rows", "size", "files", "partitions", "by", "columns", "version"],
                [
                    [
                        name,
                        f"{table['rows']:,}",
                        size(table["bytes"]),
                        table["files"],
                        table["partitions"],
                        ", ".join(table["partition_columns"]),
                        len(table["columns"]),
                        table["version"],
                    ]
                    for name, table in found["facts"].items()
                ],
                numeric={1, 2, 3, 4, 6, 7},
            )
        if found["pipelines"]:
            self.line("")
            self.table(
                ["pipeline", "taken up to", "waiting"],
                [
                    [f"{item['source']} → {item['table']}", f"{item['watermark']:,}", f"{item['waiting']:,}"]
                    for item in found["pipelines"].values()
                ],
                numeric={1, 2},
            )

    def checks(self, checks: Sequence[Mapping[str, Any]]) -> None:
        """Print what `segue.inspection.verify_database` found."""
        self.table(
            ["table", "kind", "result"],
            [[item["table"], item["kind"], item["error"] or f"intact: {item['checked']}"] for item in checks],
            numeric=set(),
        )


def _measure(figure: Figure) -> str:
    value = figure.value
    text = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 1 else f"{value:,.2f}"
    return f"{text} {figure.unit}"


def _budget(figure: Figure) -> str:
    if figure.budget is None:
        return ""
    mark = "✓" if figure.within else "✗"
    relation = "at least" if figure.at_least else "at most"
    return f"{mark} budget: {relation} {figure.budget:,.0f} {figure.unit}"
