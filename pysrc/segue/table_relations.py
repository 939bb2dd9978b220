"""The tables of a database as relations: what the names in one SQL statement stand for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .errors import InvalidError
from .pipeline import PipelineDefinition
from .relations import ArrowRelation, EventsRelation, ParquetRelation, Relation

if TYPE_CHECKING:
    import pyarrow as pa

    from .database import Database

__all__ = ["fact_relation", "resolver"]


@contextlib.contextmanager
def resolver(db: Database, fresh: bool) -> Iterator[Callable[[str], Relation | None]]:
    """Give what resolves the names of one statement: a name is the same snapshot throughout.

    With `fresh`, event tables as of now in a reader process, too.
    """
    if fresh:
        db.refresh()
    pinned: dict[tuple[str, str], Relation] = {}
    with contextlib.ExitStack() as snapshots:

        def resolve(name: str) -> Relation | None:
            found = db.catalog.read().find(name)
            if found is None:
                return None
            if found not in pinned:
                pinned[found] = _relation(db, *found, snapshots)
            return pinned[found]

        yield resolve


def _relation(db: Database, kind: str, name: str, snapshots: contextlib.ExitStack) -> Relation:
    if kind == "dimension":
        dimension = db.dimension(name)
        return ArrowRelation(name, dimension.table, dimension.key)
    if kind == "events":
        return _events_relation(db, name, snapshots)
    return fact_relation(db, name)


def _events_relation(db: Database, name: str, snapshots: contextlib.ExitStack) -> EventsRelation:
    import pyarrow as pa

    events = db.events(name)
    snapshot = events.snapshot()
    snapshots.callback(snapshot.close)

    def reader(columns: list[str] | None) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_stream(snapshot.scan(columns=columns))

    return EventsRelation(name, events.schema, reader)


def fact_relation(db: Database, name: str) -> ParquetRelation:
    """Return a fact table at its newest version, and what gives the events that no run has taken yet."""
    import pyarrow as pa

    from .pipeline_run import app_id, pending_rows

    state = db.catalog.read()
    into = [p for p in state.pipelines.values() if p.table == name]
    definitions = [(PipelineDefinition.from_json(p.definition), p.store_id) for p in into]
    apps = [app_id(store_id, definition) for definition, store_id in definitions]
    table = db.fact_table(name)
    published = table.snapshot(apps)
    if published is None and not definitions:
        raise InvalidError(
            f"nothing was published into {name!r}, and its pipeline went with its event table; drop it"
        )
    watermarks = published.watermarks if published else dict.fromkeys(apps, 0)
    schema = published.schema if published else db.pipeline_named(definitions[0][0].id).schema()

    def fresh() -> pa.Table:
        pending = [schema.empty_table()]
        for (definition, _), app in zip(definitions, apps, strict=True):
            rows = pending_rows(db, definition, watermarks[app])
            if published is not None:  # A dimension may have changed since.
                table.check_schema(rows.schema, definition.table_partitions, published)
            pending.append(rows)
        return pa.concat_tables(pending)

    return ParquetRelation(
        name,
        schema,
        published.files if published else (),
        published.partition_columns if published else definitions[0][0].table_partitions,
        published.version if published else None,
        fresh if definitions else None,
    )
