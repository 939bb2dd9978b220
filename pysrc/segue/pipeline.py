"""The pipeline builder: what a nightly job does, said in Spark's verbs.

Examples
--------
>>> import segue, tempfile, pyarrow as pa, datetime as dt
>>> schema = pa.schema([("user_id", pa.int64()), ("song_id", pa.int32()), ("timestamp", pa.timestamp("us"))])
>>> with tempfile.TemporaryDirectory() as folder, segue.open(folder + "/music") as db:
...     listens = db.create_events("listens", schema=schema, key="user_id", time="timestamp")
...     _ = listens.append(123456, 789, dt.datetime(2024, 1, 1, 12))
...     db.put_dimension("dim_songs", {"song_id": [789], "title": ["So What"]}, key="song_id")
...     job = (db.pipeline("listens")
...              .repartition(4, "user_id")
...              .join(segue.broadcast("dim_songs"), on="song_id")
...              .sort_within_partitions("timestamp")
...              .write("fact_plays", partition_by="date"))
...     report = job.run()
...     report.rows_out, job.run().up_to_date
(1, True)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from .catalog import check_name
from .errors import InvalidError, SchemaError, UnsupportedError
from .join_plan import JoinSpec, joined_fields
from .options import check_threads, parse_memory
from .warehouse_types import require_columns, require_distinct, warehouse_type

if TYPE_CHECKING:
    import pyarrow as pa

    from .database import Database
    from .pipeline_run import RunReport

__all__ = ["Broadcast", "Job", "Pipeline", "PipelineDefinition", "PipelinePlan", "broadcast"]

#: Partition column that is made from the time column, and the unit the native job cuts by.
TIME_UNITS = {"date": "day", "month": "month", "hour": "hour"}


@dataclass(frozen=True)
class Broadcast:
    """Names a dimension that is small enough to be given whole to every partition."""

    name: str


def broadcast(name: str) -> Broadcast:
    """Mark a dimension of the database for a broadcast join; see `Pipeline.join`.

    Examples
    --------
    >>> import segue
    >>> segue.broadcast("dim_songs")
    Broadcast(name='dim_songs')
    """
    return Broadcast(name)


@dataclass(frozen=True)
class PipelineDefinition:
    """A whole pipeline as data: what the catalog keeps and what a run reads."""

    source: str
    table: str
    time: str
    partitions: int = 0
    partition_columns: tuple[str, ...] = ()
    joins: tuple[JoinSpec, ...] = ()
    sort: tuple[str, ...] = ()
    partition_by: str | tuple[str, ...] | None = None

    @property
    def id(self) -> str:
        """Names the pipeline: one for each source and table."""
        return f"{self.source}:{self.table}"

    @property
    def table_partitions(self) -> tuple[str, ...]:
        """The Hive partition columns of the fact table."""
        if self.partition_by is None:
            return ()
        return (self.partition_by,) if isinstance(self.partition_by, str) else self.partition_by

    @property
    def time_unit(self) -> str | None:
        """Unit of the time column by which the table is partitioned, if it is."""
        return TIME_UNITS[self.partition_by] if isinstance(self.partition_by, str) else None

    def to_json(self) -> dict[str, Any]:
        """As the catalog keeps it."""
        return {
            "source": self.source,
            "table": self.table,
            "time": self.time,
            "partitions": self.partitions,
            "partition_columns": list(self.partition_columns),
            "joins": [join.to_json() for join in self.joins],
            "sort": list(self.sort),
            "partition_by": list(self.partition_by)
            if isinstance(self.partition_by, tuple)
            else self.partition_by,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> PipelineDefinition:
        """Return the definition that `to_json` described."""
        by = value["partition_by"]
        return PipelineDefinition(
            source=value["source"],
            table=value["table"],
            time=value["time"],
            partitions=value["partitions"],
            partition_columns=tuple(value["partition_columns"]),
            joins=tuple(JoinSpec.from_json(join) for join in value["joins"]),
            sort=tuple(value["sort"]),
            partition_by=tuple(by) if isinstance(by, list) else by,
        )

    def fact_schema(self, source: pa.Schema, joined: Sequence[pa.Field]) -> pa.Schema:
        """Columns of the fact table: source, joined, and the partition columns last."""
        import pyarrow as pa

        by = self.table_partitions
        columns = {field.name: field.type for field in [*source, *joined]}
        fields = [
            pa.field(name, warehouse_type(name, kind)) for name, kind in columns.items() if name not in by
        ]
        if isinstance(self.partition_by, str):
            zone = source.field(self.time).type.tz
            kind = (
                pa.timestamp("us", tz="UTC" if zone else None) if self.partition_by == "hour" else pa.date32()
            )
            fields.append(pa.field(self.partition_by, kind))
        else:
            fields.extend(pa.field(name, warehouse_type(name, columns[name])) for name in by)
        require_distinct([field.name for field in fields], f"the output {self.table!r}")
        return pa.schema(fields)


@dataclass(frozen=True)
class PipelinePlan:
    """What a job will do; prints as a plan, one line per step from source to publication."""

    definition: PipelineDefinition
    steps: tuple[tuple[str, str], ...]
    schema: pa.Schema

    def __str__(self) -> str:
        lines = [f"pipeline {self.definition.source} -> {self.definition.table}"]
        lines += [f"  {name:<10} {text}" for name, text in self.steps]
        columns = ", ".join(f"{field.name} {field.type}" for field in self.schema)
        lines.append(f"  {'columns':<10} {columns}")
        return "\n".join(lines)

    __repr__ = __str__


class Pipeline:
    """Builds a job from an event table to a fact table; made by `Database.pipeline`.

    Every verb gives a new pipeline, so that a common beginning can be used twice. Verbs check
    their columns at once, against the columns there are at that point.
    """

    def __init__(self, database: Database, definition: PipelineDefinition, source: pa.Schema) -> None:
        self._database = database
        self._definition = definition
        self._source = source

    def __repr__(self) -> str:
        d = self._definition
        text = f"Pipeline({d.source!r})"
        if d.partitions:
            text += f".repartition({', '.join([str(d.partitions), *map(repr, d.partition_columns)])})"
        for join in d.joins:
            text += f".join(broadcast({join.dimension!r}), on={join.on!r})"
        if d.sort:
            text += f".sort_within_partitions({', '.join(map(repr, d.sort))})"
        return text

    def _with(self, **changes: Any) -> Pipeline:
        return Pipeline(self._database, replace(self._definition, **changes), self._source)

    def _columns(self) -> list[str]:
        joined = joined_fields(self._source, self._definition.joins, self._database.dimension)
        return [*self._source.names, *(field.name for field in joined)]

    def _require_columns(self, names: Sequence[str]) -> None:
        require_columns(names, self._columns(), f"the pipeline from {self._definition.source!r}")

    def repartition(self, partitions: int, *columns: str) -> Pipeline:
        """Put rows of equal `columns` into the same of `partitions` buckets, the ones Spark would choose.

        Parameters
        ----------
        partitions
            Number of buckets: ``pmod(murmur3(columns, 42), partitions)``.
        *columns
            One column or more.
        """
        if self._definition.partitions:
            raise InvalidError("the pipeline is repartitioned already; use one repartition()")
        if type(partitions) is not int or not 1 <= partitions <= 1 << 20:
            raise InvalidError(
                f"repartition({partitions!r}): give a number of partitions from 1 to {1 << 20}"
            )
        if not columns:
            raise InvalidError(
                f'repartition({partitions}) names no column; say repartition({partitions}, "user_id")'
            )
        self._require_columns(columns)
        return self._with(partitions=partitions, partition_columns=tuple(columns))

    def join(
        self,
        dimension: Broadcast | str,
        on: str,
        columns: Sequence[str] | Mapping[str, str] | None = None,
        how: Literal["inner", "left"] = "inner",
        on_missing: Literal["drop", "error"] = "drop",
    ) -> Pipeline:
        """Add columns of a dimension to every row whose `on` equals the dimension's key.

        Parameters
        ----------
        dimension
            ``segue.broadcast(name)``, or the name.
        on
            A column of the events, or one that an earlier join brought.
        columns
            Columns to add, in this order; a mapping renames them; None is all but the key.
        how
            ``"inner"``: rows without a dimension row are dropped. ``"left"``: they get nulls.
        on_missing
            What an inner join does about such rows: ``"drop"`` counts them in the report,
            ``"error"`` fails the run, which then publishes nothing.
        """
        name = dimension.name if isinstance(dimension, Broadcast) else dimension
        if not isinstance(name, str):
            raise InvalidError(f"join({dimension!r}): give segue.broadcast(name) of a dimension")
        if how not in ("inner", "left"):
            raise InvalidError(f'how={how!r} is unknown; use "inner" or "left"')
        if on_missing not in ("drop", "error"):
            raise InvalidError(f'on_missing={on_missing!r} is unknown; use "drop" or "error"')
        if how == "left" and on_missing != "drop":
            raise InvalidError('a left join keeps every row: on_missing="error" needs how="inner"')
        found = self._database.dimension(name)
        if columns is None:
            pairs = [(c, c) for c in found.table.column_names if c != found.key]
        elif isinstance(columns, Mapping):
            pairs = list(columns.items())
        elif isinstance(columns, str):
            pairs = [(columns, columns)]
        else:
            pairs = [(c, c) for c in columns]
        spec = JoinSpec(found.name, on, tuple(pairs), how, on_missing)
        joins = (*self._definition.joins, spec)
        joined_fields(self._source, joins, self._database.dimension)
        return self._with(joins=joins)

    def sort_within_partitions(self, *columns: str) -> Pipeline:
        """Order the rows of each bucket by `columns`, ascending, nulls first; then by arrival."""
        if self._definition.sort:
            raise InvalidError("the pipeline is sorted already; use one sort_within_partitions()")
        if not columns:
            raise InvalidError("sort_within_partitions() names no column")
        self._require_columns(columns)
        return self._with(sort=tuple(columns))

    def write(self, table: str, partition_by: str | Sequence[str] | None = "date") -> Job:
        """Name the fact table that the job appends to.

        Parameters
        ----------
        table
            A new name, or a fact table that this pipeline wrote before.
        partition_by
            ``"date"``, ``"month"`` or ``"hour"``: a partition column of that name, made from the
            time column in UTC (``month`` is the date of its first day, ``hour`` a timestamp).
            A list: these columns. None: no partitions, for sparse history.
        """
        check_name(table)
        columns = self._columns()
        by: str | tuple[str, ...] | None
        if partition_by is None:
            by = None
        elif isinstance(partition_by, str) and partition_by in TIME_UNITS:
            clash = next((c for c in columns if c.lower() == partition_by), None)
            if clash is not None:
                raise SchemaError(
                    f"partition_by={partition_by!r} makes a column {partition_by!r} from the time, "
                    f"but there is a column {clash!r}; use partition_by=[{clash!r}], or rename it",
                    clash,
                )
            by = partition_by
        else:
            by = (partition_by,) if isinstance(partition_by, str) else tuple(partition_by)
            if isinstance(partition_by, str) and partition_by not in columns:
                raise InvalidError(
                    f'partition_by={partition_by!r} is unknown; use "date", "month", "hour", None or columns'
                )
            self._require_columns(by)
            if len(set(by)) != len(by):
                raise SchemaError(f"partition_by={list(by)!r} names a column twice", by[0])
            self._check_partition_columns(by)
        definition = replace(self._definition, table=table, partition_by=by or None)
        job = Job(self._database, definition, self._source)
        job.schema()  # Refuses columns that no fact table holds.
        if not set(columns) - set(definition.table_partitions):
            raise SchemaError(
                f"partition_by={list(definition.table_partitions)!r} leaves no column for the files"
            )
        self._database.check_target(definition)
        return job

    def _check_partition_columns(self, names: Sequence[str]) -> None:
        from pyarrow import types

        joined = joined_fields(self._source, self._definition.joins, self._database.dimension)
        types_of = {field.name: field.type for field in [*self._source, *joined]}
        for name in names:
            kind = warehouse_type(name, types_of[name])
            exact = types.is_signed_integer(kind) or types.is_string(kind) or types.is_date(kind)
            if not exact and not types.is_boolean(kind):
                raise SchemaError(
                    f"cannot partition by column {name!r} of type {types_of[name]}; "
                    "use integers, strings, dates or booleans",
                    name,
                )


class Job:
    """A complete pipeline, ready to run; made by `Pipeline.write`."""

    def __init__(self, database: Database, definition: PipelineDefinition, source: pa.Schema) -> None:
        self._database = database
        self.definition = definition
        self._source = source

    def __repr__(self) -> str:
        d = self.definition
        by = list(d.partition_by) if isinstance(d.partition_by, tuple) else d.partition_by
        return f"Job({d.source!r} -> {d.table!r}, partition_by={by!r})"

    def schema(self) -> pa.Schema:
        """Columns of the fact table."""
        joined = joined_fields(self._source, self.definition.joins, self._database.dimension)
        return self.definition.fact_schema(self._source, joined)

    def run(
        self,
        engine: Literal["native", "spark"] = "native",
        memory: int | str = "1GiB",
        threads: int = 2,
        progress: bool = False,
    ) -> RunReport:
        """Take the events that no run has taken yet, and publish them in one commit.

        A run can be repeated, killed or raced with no event lost or counted twice. With nothing
        new it changes nothing and says so (``report.up_to_date``).

        Parameters
        ----------
        engine
            ``"native"``.
        memory
            Budget, as bytes or ``"1GiB"``; 64 MiB is always enough.
        threads
            Threads that sort and write.
        progress
            Show a progress bar when the run takes longer than a second.

        Raises
        ------
        BudgetError
            The budget is below 64 MiB.
        LockedError
            Another run into the same table is under way.
        SchemaError
            A dimension lost a column, or the table has other columns.

        Examples
        --------
        >>> import pyarrow as pa, segue, tempfile
        >>> db = segue.open(tempfile.mkdtemp())
        >>> schema = pa.schema({"user": pa.int64(), "song": pa.int64(), "at": pa.timestamp("us")})
        >>> plays = db.create_events("plays", schema, key="user", time="at")
        >>> _ = plays.append_batch({"user": [7, 8, 7], "song": [1, 2, 9], "at": [0, 1, 2]})
        >>> db.put_dimension("songs", {"song": [1, 2], "title": ["So What", "Naima"]}, key="song")
        >>> job = (
        ...     db.pipeline("plays").repartition(4, "user").join(segue.broadcast("songs"), on="song")
        ...     .sort_within_partitions("at").write("fact_plays", partition_by="month")
        ... )
        >>> report = job.run()
        >>> report.rows_in, report.rows_out, job.run().up_to_date  # song 9 is none of the dimension
        (3, 2, True)
        >>> db.sql("SELECT title FROM fact_plays ORDER BY song").fetchall()
        [('So What',), ('Naima',)]
        >>> db.close()
        """
        if engine == "spark":
            raise UnsupportedError('engine="spark" comes in a later version; use engine="native"')
        if engine != "native":
            raise InvalidError(f'engine={engine!r} is unknown; use "native"')
        from .pipeline_run import run_pipeline

        return run_pipeline(
            self._database, self.definition, parse_memory(memory), check_threads(threads), progress
        )

    def explain(self) -> PipelinePlan:
        """Return the steps of the job, without running it; print it."""
        d = self.definition
        steps = [("scan", f"{d.source}: the events that no run has taken")]
        if d.partitions:
            steps.append(
                (
                    "partition",
                    f"{d.partitions} buckets by {', '.join(d.partition_columns)} (murmur3, as Spark)",
                )
            )
        for join in d.joins:
            found = self._database.dimension(join.dimension)
            missing = {
                "drop": "events without a row are dropped and counted",
                "error": "an event without a row fails the run",
            }[join.on_missing]
            if join.how == "left":
                missing = "events without a row get nulls"
            names = (
                ", ".join(n if n == alias else f"{n} as {alias}" for n, alias in join.columns) or "no column"
            )
            steps.append(
                (
                    "join",
                    (
                        f"{join.dimension} ({found.table.num_rows} rows, broadcast) on {join.on}, "
                        f"its key {found.key}, {join.how}: {names}; {missing}"
                    ),
                )
            )
        if d.sort:
            within = "each bucket" if d.partitions else "each file"
            steps.append(("sort", f"{', '.join(d.sort)}, then arrival, within {within}"))
        if d.time_unit:
            steps.append(("write", f"Parquet, one folder for each {d.partition_by} of {d.time} (UTC)"))
        elif d.table_partitions:
            steps.append(("write", f"Parquet, one folder for each {', '.join(d.table_partitions)}"))
        else:
            steps.append(("write", "Parquet"))
        steps.append(("publish", f"one Delta commit to {d.table}, with the highest sequence taken"))
        return PipelinePlan(d, tuple(steps), self.schema())
