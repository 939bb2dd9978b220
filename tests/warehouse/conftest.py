"""Stand-ins for the event store and the native job, written as plainly as they can be.

They are used where the real parts are not built, and as the model that the real job is compared
with in test_pipeline_model.py.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import sys
import types
import uuid
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from segue import _engine


class ModelScan:
    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__()

    def to_arrow(self) -> pa.Table:
        return self._table


class ModelSnapshot:
    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.sequence = table.num_rows

    def scan(self, columns: list[str] | None = None, **_: Any) -> ModelScan:
        return ModelScan(self._table if columns is None else self._table.select(columns))

    def scan_sequences(
        self, after: int, upto: int, columns: list[str] | None = None, sequence_column: str | None = None
    ) -> ModelScan:
        rows = self._table.slice(after, max(0, upto - after))
        rows = rows if columns is None else rows.select(columns)
        if sequence_column:
            rows = rows.append_column(
                sequence_column, pa.array(range(after + 1, after + 1 + rows.num_rows), pa.uint64())
            )
        return ModelScan(rows)

    def close(self) -> None:
        pass


class ModelEvents:
    """Keeps its events in an Arrow file that is written with every append."""

    def __init__(self, path: Path, name: str, mode: str) -> None:
        self._path, self.name, self._mode = path, name, mode
        with pa.OSFile(str(path / "rows.arrow"), "rb") as f:
            table = pa.ipc.open_file(f).read_all()
        meta = table.schema.metadata
        self.schema = table.schema.remove_metadata()
        self._table = table.replace_schema_metadata(None)
        self.key = tuple(meta[b"key"].decode().split(","))
        self.time = meta[b"time"].decode()
        self.store_id = meta[b"id"].decode()
        self.closed = False
        self.handoff = 0

    @staticmethod
    def create(
        path: str, name: str, schema: pa.Schema, key: Any, time: str, *, durability: str
    ) -> ModelEvents:
        Path(path).mkdir(parents=True)
        metadata = {"key": ",".join(key), "time": time, "id": uuid.uuid4().hex}
        table = schema.empty_table().replace_schema_metadata(metadata)
        with pa.OSFile(path + "/rows.arrow", "wb") as f, pa.ipc.new_file(f, table.schema) as w:
            w.write_table(table)
        (Path(path) / "MANIFEST").touch()
        return ModelEvents(Path(path), name, "rw")

    @staticmethod
    def open(path: str, name: str, *, durability: str = "commit", mode: str = "rw") -> ModelEvents:
        return ModelEvents(Path(path), name, mode)

    def append_batch(self, data: Any, token: str | None = None) -> tuple[int, int]:
        table = data if isinstance(data, pa.Table) else pa.table(data, schema=self.schema)
        first = self._table.num_rows + 1
        self._table = pa.concat_tables([self._table, table.cast(self.schema)]).unify_dictionaries()
        out = self._table.replace_schema_metadata(
            {"key": ",".join(self.key), "time": self.time, "id": self.store_id}
        )
        with pa.OSFile(str(self._path / "rows.arrow"), "wb") as f, pa.ipc.new_file(f, out.schema) as w:
            w.write_table(out)
        return first, self._table.num_rows

    def append(self, *values: Any) -> int:
        columns = [[v] for v in values]
        return self.append_batch(pa.table(columns, schema=self.schema))[0]

    def snapshot(self) -> ModelSnapshot:
        return ModelSnapshot(self._table)

    def sync(self) -> int:
        return self._table.num_rows

    def record_handoff(self, sequence: int) -> None:
        self.handoff = sequence

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ModelStream:
    def __init__(self, table: pa.Table, rows: int) -> None:
        self._table = table
        self._rows = rows
        self.bucket_ranges: list[tuple[int, int]] = []

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        def batches() -> Any:
            table = self._table.combine_chunks()
            for at in range(0, table.num_rows, self._rows):
                self.bucket_ranges.append((0, 0))
                part = table.slice(at, self._rows).combine_chunks().to_batches()
                assert len(part) == 1
                yield part[0]

        return pa.RecordBatchReader.from_batches(self._table.schema, batches()).__arrow_c_stream__()


class ModelEtlJob:
    """The native job in pyarrow: no buckets, everything in memory."""

    def __init__(
        self,
        partitions: int,
        partition_columns: list[str],
        sort_columns: list[str],
        split_column: str | None,
        split_unit: str | None,
        split_columns: list[str],
        sequence_column: str | None,
        memory: int,
        threads: int,
        spill_dir: str,
    ) -> None:
        self._sort, self._split_column, self._unit = sort_columns, split_column, split_unit
        self._split_columns, self._sequence = split_columns, sequence_column
        self._joins: list[tuple[pa.Table, str, str, list[str], str]] = []
        self.metrics: dict[str, Any] = {}

    def add_join(self, stream: Any, on: str, key: str, columns: list[str], how: str) -> None:
        reader = pa.RecordBatchReader._import_from_c_capsule(stream)
        self._joins.append((reader.read_all(), on, key, columns, how))

    def consume(self, stream: Any) -> int:
        table = pa.RecordBatchReader._import_from_c_capsule(stream).read_all()
        rows_in, dropped = table.num_rows, []
        for dimension, on, key, columns, how in self._joins:
            values = table.column(on)
            if pa.types.is_dictionary(values.type):
                values = values.cast(values.type.value_type)
            keys = dimension.column(key).combine_chunks()
            rows = pc.index_in(values, value_set=keys)
            before = table.num_rows
            if how == "inner":
                found = pc.is_valid(rows)
                table, rows = table.filter(found), rows.filter(found)
            dropped.append(before - table.num_rows)
            for name in columns:
                table = table.append_column(name, dimension.column(name).take(rows))
        self._table = table
        self.metrics = {"rows_in": rows_in, "rows_out": table.num_rows, "dropped": dropped, "runs": 1,
                        "spilled_bytes_written": 0, "spilled_bytes_read": 0, "peak_memory": table.nbytes,
                        "merge_fan_in": 1}  # fmt: skip
        return rows_in

    def finish(self) -> None:
        table = self._table
        order = [(name, "ascending") for name in [*self._sort, self._sequence]]
        if table.num_rows:
            plain = table
            for name in self._sort:
                if pa.types.is_dictionary(table.schema.field(name).type):
                    i = table.column_names.index(name)
                    plain = plain.set_column(i, name, table.column(name).cast(pa.string()))
            table = table.take(pc.sort_indices(plain, sort_keys=order, null_placement="at_start"))
        table = table.drop_columns([self._sequence])
        parts: dict[Any, list[int]] = {}
        for i, value in enumerate(self._values(table)):
            parts.setdefault(value, []).append(i)
        self._parts = {value: table.take(rows) for value, rows in parts.items()}
        self.splits = [(value, part.num_rows) for value, part in self._parts.items()]

    def _values(self, table: pa.Table) -> list[Any]:
        if self._split_column:
            kind = table.schema.field(self._split_column).type
            per_hour = 3600 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
            hours = [t // per_hour for t in table.column(self._split_column).cast(pa.int64()).to_pylist()]
            if self._unit == "month":
                dates = [dt.date(1970, 1, 1) + dt.timedelta(hours=h) for h in hours]
                return [(d.year - 1970) * 12 + d.month - 1 for d in dates]
            return hours if self._unit == "hour" else [h // 24 for h in hours]
        if self._split_columns:
            return list(zip(*(table.column(c).to_pylist() for c in self._split_columns), strict=True))
        return [None] * table.num_rows

    def read(
        self, split: int, row_group_rows: int, first_bucket: int = 0, last: int | None = None
    ) -> ModelStream:
        # It has one bucket, the first.
        table = list(self._parts.values())[split]
        return ModelStream(table if first_bucket == 0 else table.slice(0, 0), row_group_rows)

    def cancel(self) -> None:
        pass

    def close(self) -> None:
        pass


if importlib.util.find_spec("segue.events") is None:
    module = types.ModuleType("segue.events")
    module.Events = ModelEvents  # type: ignore[attr-defined]
    sys.modules["segue.events"] = module
if not hasattr(_engine, "EtlJob"):
    _engine.EtlJob = ModelEtlJob  # type: ignore[attr-defined]
