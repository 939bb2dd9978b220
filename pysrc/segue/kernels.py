"""Segue's kernels on Arrow data, with no database at all.

Data is anything with the Arrow C interface (a pyarrow, Polars or pandas table, a record batch, a
reader, a stream of Segue's own) or a dict of NumPy arrays. What comes back as a stream has
``__arrow_c_stream__``: hand it to ``pyarrow.table(...)``, ``polars.DataFrame(...)`` or any other
consumer of Arrow. A stream is read once.

Examples
--------
>>> import pyarrow as pa
>>> from segue import kernels
>>> plays = {"user": [3, 1, 2, 1], "song": ["b", "a", "a", "c"]}
>>> pa.table(kernels.big_sort(plays, ["user", "song"])).to_pydict()
{'user': [1, 1, 2, 3], 'song': ['a', 'c', 'a', 'b']}
>>> kernels.hash_partition(plays, 4, ["user"]).tolist()
[3, 1, 0, 1]
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _engine
from .errors import InvalidError
from .options import check_threads, parse_memory

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from ._engine import BloomFilter
    from .arrow_count import count_groups as group_count

__all__ = [
    "ArrowStream",
    "BloomFilter",
    "BroadcastTable",
    "big_sort",
    "cpu_features",
    "group_count",
    "hash_partition",
    "murmur3",
]

#: Spark's seed of `hash()` and of `repartition`.
SPARK_SEED = 42


def __getattr__(name: str) -> Any:
    # Defined beside their own act; named here without loading it before it is asked for.
    if name == "group_count":
        from .arrow_count import count_groups

        return count_groups
    if name == "BloomFilter":
        return _engine.BloomFilter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class ArrowStream:
    """Rows that a kernel gives, batch by batch; read once.

    An error that ends the stream is raised by the consumer as its own class; `read_all` raises
    Segue's.

    Examples
    --------
    >>> from segue import kernels
    >>> stream = kernels.big_sort({"n": [2, 3, 1]}, "n", descending=True)
    >>> stream.schema.names
    ['n']
    >>> stream.read_all()["n"].to_pylist()
    [3, 2, 1]
    """

    def __init__(self, native: Any) -> None:
        self._native = native

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Hand the stream to a consumer; once."""
        return self._native.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        """Describe the columns to a consumer."""
        return self._native.__arrow_c_schema__()

    @property
    def schema(self) -> pa.Schema:
        """The columns as a :class:`pyarrow.Schema`."""
        schema: pa.Schema = self._native.schema
        return schema

    @property
    def metrics(self) -> dict[str, Any]:
        """What was counted so far: runs, spilled bytes and memory of a sort, rows dropped by a join."""
        if hasattr(self._native, "metrics"):
            return dict(self._native.metrics)
        return {"dropped": self._native.dropped}

    def read_all(self) -> pa.Table:
        """Read everything into a :class:`pyarrow.Table`."""
        import pyarrow as pa

        try:
            return pa.RecordBatchReader.from_stream(self).read_all()
        except Exception:
            self._native.raise_error()
            raise

    def __repr__(self) -> str:
        columns = ", ".join(f"{field.name}: {field.type}" for field in self.schema)
        return f"<ArrowStream of {columns}>"


def murmur3(data: object, seed: int = SPARK_SEED) -> npt.NDArray[np.int32]:
    """Spark's ``hash(...)`` of each row: Murmur3_x86_32 over the columns, left to right.

    Booleans, integers of at most 32 bits and dates hash as int; 64-bit integers and timestamps (in
    microseconds) as long; floats by their bits with -0.0 as 0.0; decimals, strings and binary as
    Spark has them; a null leaves the hash as it is. Unsigned integers hash as the next signed type.

    Parameters
    ----------
    data
        A table, one array, or a list of arrays of equal length (the columns).
    seed
        Hash to start from.

    Examples
    --------
    >>> import numpy as np
    >>> from segue import kernels
    >>> kernels.murmur3(np.array([0, 1], dtype=np.int32)).tolist()
    [933211791, -559580957]
    >>> kernels.murmur3([["", "ABC", None]]).tolist()
    [142593372, -757602832, 42]
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not -(2**31) <= seed < 2**32:
        raise InvalidError(f"seed={seed!r} does not fit 32 bits")
    hashes: npt.NDArray[np.int32] = _engine.murmur3(_stream(_columns(data)), None, seed)
    return hashes


def hash_partition(data: object, n: int, columns: str | Sequence[str]) -> npt.NDArray[np.int32]:
    """Partition number of each row, as Spark's ``repartition(n, columns)`` gives it.

    That is ``pmod(murmur3(columns, 42), n)``.

    Examples
    --------
    >>> from segue import kernels
    >>> kernels.hash_partition({"user": ["a", "b", "a"]}, 8, "user").tolist()
    [2, 1, 2]
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n < 2**31:
        raise InvalidError(f"n={n!r} is no number of partitions; give 1 or more")
    partitions: npt.NDArray[np.int32] = _engine.hash_partition(_stream(data), _names(columns), n)
    return partitions


def big_sort(
    data: object,
    by: str | Sequence[str | tuple[str, bool]],
    *,
    memory: int | str = "256MiB",
    threads: int = 1,
    descending: bool = False,
    spill_dir: str | os.PathLike[str] | None = None,
) -> ArrowStream:
    """Sort rows by columns, within a memory budget: what does not fit is spilled to disk.

    An external merge sort: runs sorted by radix, merged by a tree of losers. It is stable. Nulls
    come first, or last where descending, as in Spark; NaN is the greatest float.

    Parameters
    ----------
    data
        A table or a stream of any size.
    by
        A column, or several; ``(column, True)`` sorts that one descending.
    memory
        Most memory to use, in bytes or as ``"1GiB"``; at least 64 MiB.
    threads
        Threads that sort and spill, the calling one included.
    descending
        The direction of the columns named without one.
    spill_dir
        Directory for what does not fit; default: the system's temporary directory. Nothing is
        written while everything fits, and the files go with the stream.

    Examples
    --------
    >>> from segue import kernels
    >>> stream = kernels.big_sort({"n": [2, None, 1], "c": ["x", "y", "z"]}, "n")
    >>> stream.read_all().to_pydict()
    {'n': [None, 1, 2], 'c': ['y', 'z', 'x']}
    >>> stream.metrics["spilled_bytes_written"]
    0
    """
    columns = [by] if isinstance(by, str) else list(by)
    pairs = [(c, descending) if isinstance(c, str) else (c[0], bool(c[1])) for c in columns]
    budget = parse_memory(memory)
    folder = os.fspath(spill_dir) if spill_dir is not None else tempfile.gettempdir()
    native = _engine.big_sort(_stream(data), pairs, budget, check_threads(threads), folder)
    return ArrowStream(native)


class BroadcastTable:
    """A dimension held in memory, found by its key; joined to any number of streams.

    Keys in a compact integer range index a table directly; others are hashed. String columns with
    few distinct values come out as ``dictionary<int32, string>``.

    Parameters
    ----------
    table
        The dimension's rows.
    key
        Its key column: no nulls, no value twice.

    Examples
    --------
    >>> from segue import kernels
    >>> songs = kernels.BroadcastTable({"song": [1, 2], "title": ["So What", "Naima"]}, "song")
    >>> plays = {"song": [2, 9, 1], "ms": [10, 20, 30]}
    >>> songs.join(plays, "song").read_all().to_pydict()
    {'song': [2, 1], 'ms': [10, 30], 'title': ['Naima', 'So What']}
    >>> songs.join(plays, "song", how="left").read_all()["title"].to_pylist()
    ['Naima', None, 'So What']
    """

    def __init__(self, table: object, key: str) -> None:
        self._native = _engine.BroadcastTable(_stream(table), key)
        self._key = key

    def join(
        self, data: object, on: str, columns: Sequence[str] | None = None, how: str = "inner"
    ) -> ArrowStream:
        """Add the dimension's `columns` (default: all but the key) to each row of `data`.

        ``how="inner"`` leaves out rows without a match, and counts them in ``metrics["dropped"]``;
        ``how="left"`` gives them nulls. The rows keep their order.
        """
        names = None if columns is None else _names(columns)
        return ArrowStream(self._native.join(_stream(data), on, names, how))

    def __len__(self) -> int:
        return len(self._native)

    @property
    def dense(self) -> bool:
        """Whether keys index a table directly; else they are hashed."""
        return bool(self._native.dense)

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        return int(self._native.nbytes)

    def __repr__(self) -> str:
        kind = "dense" if self.dense else "hashed"
        return f"<BroadcastTable of {len(self)} rows by {self._key!r}, {kind}>"


def cpu_features() -> list[str]:
    """Names of the features of this CPU that the kernels know of.

    Examples
    --------
    >>> from segue import kernels
    >>> isinstance(kernels.cpu_features(), list)
    True
    """
    return list(_engine.cpu_features())


def _names(columns: str | Sequence[str]) -> list[str]:
    return [columns] if isinstance(columns, str) else list(columns)


def _stream(data: object) -> object:
    """Return an ``arrow_array_stream`` capsule of a table in any form."""
    export = getattr(data, "__arrow_c_stream__", None)
    if export is not None:
        return export()
    import pyarrow as pa

    if hasattr(data, "__arrow_c_array__"):
        return pa.Table.from_batches([pa.record_batch(data)]).__arrow_c_stream__()
    if isinstance(data, Mapping):
        return pa.table(dict(data)).__arrow_c_stream__()
    raise InvalidError(
        f"a {type(data).__name__} is no table: give data with __arrow_c_stream__ or __arrow_c_array__ "
        "(pyarrow, Polars, pandas 2.2 or later), or a dict of NumPy arrays"
    )


def _columns(data: object) -> object:
    """Return `data` if it is a table, else a table of its arrays."""
    import numpy as np
    import pyarrow as pa

    if isinstance(data, Mapping | pa.Table | pa.RecordBatch | pa.RecordBatchReader):
        return data
    if isinstance(data, pa.Array | pa.ChunkedArray | np.ndarray):
        return pa.table([_column(data)], names=["0"])
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        arrays = [_column(column) for column in data]
        if not arrays:
            raise InvalidError("murmur3 needs at least one column")
        return pa.table(arrays, names=[str(i) for i in range(len(arrays))])
    return data


def _column(data: Any) -> Any:
    import pyarrow as pa

    return data if isinstance(data, pa.Array | pa.ChunkedArray) else pa.array(data)
