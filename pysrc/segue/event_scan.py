"""Reading an event table: scans, and the snapshots that they are of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from segue.errors import InvalidError

if TYPE_CHECKING:
    import pyarrow as pa

    from segue.events import Events

__all__ = ["Scan", "Snapshot"]


class Scan:
    """Rows of an event table, read when consumed.

    Any Arrow consumer takes it (``pa.table(scan)``, ``pl.DataFrame(scan)``, ``duckdb``) through
    ``__arrow_c_stream__``. It may be consumed more than once: each time it reads the same snapshot.
    """

    def __init__(
        self,
        open_stream: Callable[[], Any],
        what: str,
        schema: pa.Schema | None = None,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self._open = open_stream
        self._what = what
        self._schema = schema
        self._transform = transform

    def __repr__(self) -> str:
        return f"<segue.Scan of {self._what}>"

    def __arrow_c_schema__(self) -> object:
        if self._transform is not None:
            return self.to_reader().schema.__arrow_c_schema__()
        return self._open().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        if self._transform is not None:
            return self.to_reader().__arrow_c_stream__(requested_schema)
        return self._open().__arrow_c_stream__(requested_schema)

    def to_reader(self) -> pa.RecordBatchReader:
        """Read batch by batch, in bounded memory, as a ``pyarrow.RecordBatchReader``."""
        import pyarrow as pa

        source = self._open()
        reader = pa.RecordBatchReader.from_stream(source)
        return reader if self._transform is None else self._transform(reader)

    def to_arrow(self) -> pa.Table:
        """All rows as a ``pyarrow.Table``.

        Raises
        ------
        CorruptionError
            A file of the store is damaged.
        """
        import pyarrow as pa

        batches = list(self.batches())
        return pa.Table.from_batches(batches, self._schema or (None if batches else pa.schema(self)))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Batch by batch, in bounded memory, with the same exceptions as :meth:`to_arrow`."""
        import pyarrow as pa

        source = self._open()
        if self._transform is None:
            schema = self._schema or pa.schema(source)
            # To import a schema with each batch would cost more than a batch of few rows.
            while address := source.next_array():
                yield pa.RecordBatch._import_from_c(address, schema)
            return
        try:
            yield from self._transform(pa.RecordBatchReader.from_stream(source))
        except (pa.ArrowException, OSError):
            source.raise_error()  # the exact exception, where the store knows it
            raise

    def to_pandas(self) -> Any:
        """All rows as a ``pandas.DataFrame``."""
        return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """All rows as a ``polars.DataFrame``."""
        import polars as pl

        return pl.DataFrame(self.to_arrow())


class Snapshot:
    """An event table as of one sequence number; later appends do not change it.

    Keeps files and memory alive until closed or collected; stays readable after the table is closed.
    A context manager.
    """

    def __init__(self, events: Events, implied: bool = False) -> None:
        self._closed = True  # until it is there; `__del__` runs even when this fails
        self._events = events
        self._native = events._store.snapshot()
        self.sequence: int = self._native.sequence
        """Highest sequence number in the snapshot; 0 when it is empty."""
        # That of a scan of the table, which nobody else has, goes with it.
        self._closed = implied

    def __repr__(self) -> str:
        return f"<segue.Snapshot of {self._events.name!r} at sequence {self.sequence}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and memory. Idempotent."""
        self._closed = True
        self._native.close()

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(
                f"{self!r} was never closed; use it in a with statement",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def scan(
        self,
        key: Any = None,
        since: Any = None,
        until: Any = None,
        columns: Sequence[str] | None = None,
        descending: bool = False,
        ordered: bool = False,
        limit: int | None = None,
    ) -> Scan:
        """Rows of the snapshot; see :meth:`Events.scan`."""
        events = self._events
        if limit is not None and (type(limit) is not int or limit < 0):
            raise InvalidError(f"limit={limit!r} is no number of rows; give 0 or more, or None for all")
        encoded = None if key is None else events._values.key(key)
        low, high = events._values.time("since", since), events._values.time("until", until)
        indices = events._values.columns(columns)
        what = f"{events.name!r} at sequence {self.sequence}"
        if encoded is not None or not (ordered or descending):

            def stream() -> Any:
                return self._native.scan(encoded, low, high, indices, descending, limit, 0, None, "")

            return Scan(stream, what, events.schema if columns is None else None)
        return self._scan_ordered(low, high, indices, descending, limit, what)

    def _scan_ordered(
        self,
        low: int | None,
        high: int | None,
        indices: list[int],
        descending: bool,
        limit: int | None,
        what: str,
    ) -> Scan:
        # The store keeps rows by key: an order by time over all keys is an external sort.
        from segue import kernels

        events = self._events
        time_index = events._names.index(events.time)
        read = indices if time_index in indices else [*indices, time_index]
        names = [events._names[i] for i in indices]
        sequence = _free_name("sequence", events._names)

        def stream() -> Any:
            return self._native.scan(None, low, high, read, False, None, 0, None, sequence)

        def sort(reader: pa.RecordBatchReader) -> pa.RecordBatchReader:
            import pyarrow as pa

            ordered = kernels.big_sort(reader, [events.time, sequence], descending=descending)
            batches = pa.RecordBatchReader.from_stream(ordered)
            schema = pa.schema([batches.schema.field(name) for name in names])

            def cut() -> Any:
                left = limit
                for batch in batches:
                    if left is not None:
                        batch = batch.slice(0, left)
                        left -= batch.num_rows
                    yield batch.select(names)
                    if left == 0:
                        return

            return pa.RecordBatchReader.from_batches(schema, cut())

        return Scan(stream, what, transform=sort)

    def scan_sequences(
        self, after: int, upto: int, columns: Sequence[str] | None = None, sequence_column: str | None = None
    ) -> Scan:
        """Rows with ``after < sequence <= upto``, in unspecified order: what a pipeline run takes.

        With ``sequence_column``, a uint64 column of that name with the sequence numbers is added.
        """
        indices = self._events._values.columns(columns)

        def stream() -> Any:
            return self._native.scan(
                None, None, None, indices, False, None, after, upto, sequence_column or ""
            )

        return Scan(stream, f"{self._events.name!r}, sequences {after + 1} to {upto}")


def _free_name(wanted: str, taken: Sequence[str]) -> str:
    while wanted in taken:
        wanted = f"_{wanted}"
    return wanted
