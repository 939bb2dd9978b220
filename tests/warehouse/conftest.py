"""A stand-in for the event store, written as plainly as it can be, where the real one is not built."""

from __future__ import annotations

import importlib.util
import sys
import types
import uuid
from pathlib import Path
from typing import Any, Self

import pyarrow as pa


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


if importlib.util.find_spec("segue.events") is None:
    module = types.ModuleType("segue.events")
    module.Events = ModelEvents  # type: ignore[attr-defined]
    sys.modules["segue.events"] = module
