"""
Segue's native core. Use it through the segue package.
"""

import collections.abc
import typing
from types import ModuleType

import numpy as np
import numpy.typing as npt
import typing_extensions

class ScanStream:
    """
    The rows of one scan, as an Arrow stream to be read once.
    """
    def __arrow_c_schema__(self) -> typing_extensions.CapsuleType: ...
    def __arrow_c_stream__(self, requested_schema: typing.Any = None) -> typing_extensions.CapsuleType: ...
    def next_array(self) -> int:
        """
        The address of the next batch, an ArrowArray to be imported before the next call; 0 at the end.
        """
    def raise_error(self) -> None:
        """
        Raises the error that ended the stream, if one did.
        """

class Snapshot:
    """
    An event store as of one sequence number.
    """
    def close(self) -> None: ...
    def scan(
        self,
        key: bytes | None,
        since: int | None,
        until: int | None,
        columns: collections.abc.Sequence[int],
        descending: bool,
        limit: int | None,
        after: int,
        upto: int | None,
        sequence_name: str,
    ) -> ScanStream: ...
    @property
    def sequence(self) -> int: ...

class EventStore:
    """
    The LSM store of one event table.
    """
    @staticmethod
    def create(
        path: str,
        schema: typing.Any,
        key: collections.abc.Sequence[str],
        time: str,
        window: int = 0,
        env: typing.Any = None,
    ) -> None: ...
    @staticmethod
    def open(
        path: str,
        durability: str = "commit",
        read_only: bool = False,
        options: dict[str, typing.Any] = {},
        env: typing.Any = None,
        progress: typing.Any = None,
    ) -> EventStore:
        """
        progress(bytes done, bytes left) is called now and then while logs are replayed.
        """
    def __arrow_c_schema__(self) -> typing_extensions.CapsuleType: ...
    def append_array(
        self, schema: typing.Any, array: typing.Any, token: str = ""
    ) -> tuple[typing.Any, ...]: ...
    def append_stream(self, stream: typing.Any, token: str = "") -> tuple[typing.Any, ...]: ...
    def close(self) -> None: ...
    def compact(self, progress: typing.Any = None) -> int:
        """
        progress(bytes done, bytes left) is called now and then.
        """
    def encode_key(self, schema: typing.Any, array: typing.Any) -> bytes:
        """
        The encoded key of the first row of a batch of the key columns.
        """
    def expire(self, before: int, taken: int) -> tuple[typing.Any, ...]:
        """
        Start of the first window kept, rows expired, files and bytes dropped, rows above `taken`: then nothing was done.
        """
    def encode_plain_key(self, values: tuple[typing.Any, ...]) -> bytes | None:
        """
        The encoded key of integers and strings; None when a value needs another way.
        """
    def flush(self) -> None: ...
    def record_handoff(self, sequence: int) -> None: ...
    def row_fixed_size(self) -> int: ...
    def row_handle(self) -> typing_extensions.CapsuleType:
        """
        A capsule that the row path passes to _row_api.
        """
    def row_layout(self) -> list[typing.Any]:
        """
        Per column: name, type id, slot offset, slot width, required, time unit, precision, scale, type name. For the row path.
        """
    def snapshot(self) -> Snapshot: ...
    def stats(self) -> dict[str, typing.Any]: ...
    def refresh(self) -> int: ...
    def sync(self) -> int: ...
    def verify(self) -> None: ...
    @property
    def commits(self) -> bool:
        """
        An append waits until the row survives power loss.
        """
    @property
    def key(self) -> list[str]: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def store_id(self) -> str: ...
    @property
    def time(self) -> str: ...
    @property
    def window(self) -> int:
        """
        Width of a time window, in the time column's unit.
        """

class EtlStream:
    """
    The rows of one split in order; each batch is meant to become one row group.
    """
    def __arrow_c_schema__(self) -> typing_extensions.CapsuleType: ...
    def __arrow_c_stream__(self, requested_schema: typing.Any = None) -> typing_extensions.CapsuleType:
        """
        The Arrow PyCapsule protocol; a stream is consumed once.
        """
    def raise_error(self) -> None:
        """
        Raise the error that ended the stream, if one did, as its segue class.
        """
    @property
    def bucket_ranges(self) -> list[tuple[int, int]]:
        """
        (first, last) bucket of each batch produced so far, both inclusive.
        """
    @property
    def schema(self) -> typing.Any:
        """
        The stream's pyarrow.Schema.
        """

class EtlJob:
    """
    Hash-partitions, splits, sorts and joins batches within a memory budget; then serves each split in order (bucket, sort columns, sequence).
    """
    def __arrow_c_schema__(self) -> typing_extensions.CapsuleType: ...
    def __enter__(self) -> typing.Any: ...
    def __exit__(self, *args: object) -> None: ...
    def __init__(
        self,
        partitions: int,
        partition_columns: collections.abc.Sequence[str],
        sort_columns: collections.abc.Sequence[str],
        split_column: str | None,
        split_unit: str | None,
        split_columns: collections.abc.Sequence[str],
        sequence_column: str | None,
        memory: int,
        threads: int,
        spill_dir: str,
    ) -> None: ...
    def add_join(
        self,
        dimension: typing.Any,
        on: str,
        key: str,
        columns: collections.abc.Sequence[str] | None = None,
        how: str = "inner",
    ) -> None:
        """
        Join a dimension (an arrow_array_stream capsule); before the first consume().
        """
    def cancel(self) -> None:
        """
        Make a running consume, finish or stream stop with Cancelled. Any thread.
        """
    def close(self) -> None:
        """
        Stop, and remove the spill files. Idempotent.
        """
    def consume(self, stream: typing.Any) -> int:
        """
        Take all rows of an arrow_array_stream capsule; how many.
        """
    def finish(self) -> None:
        """
        Sort what is left; read() and splits follow.
        """
    def read(
        self, split: int, row_group_rows: int, first_bucket: int = 0, last_bucket: int | None = None
    ) -> EtlStream:
        """
        An EtlStream over a split, or over its buckets first_bucket to last_bucket, both inclusive.
        """
    @property
    def metrics(self) -> dict[str, typing.Any]: ...
    @property
    def schema(self) -> typing.Any:
        """
        The output's pyarrow.Schema, once rows were consumed.
        """
    @property
    def splits(self) -> list[typing.Any]:
        """
        (value, rows) of each split: an int for a unit of time (None: null), a tuple[typing.Any, ...] of column values, or None without splits.
        """

class ParquetFooter:
    """
    Where the column chunks of a Parquet file lie.
    """
    def __init__(self, data: bytes, path: str, offset: int) -> None: ...
    def chunks(self, leaf: int) -> list[typing.Any]:
        """
        One column's chunk in each row group.
        """
    @property
    def leaves(self) -> int:
        """
        Column chunks of a row group.
        """
    @property
    def rows(self) -> list[int]:
        """
        Rows of each row group.
        """

class ScanWorker:
    """
    One thread's share of a GroupScan.
    """
    def count(self, path: str, rows: int, data: typing.Any, columns: list[typing.Any]) -> None:
        """
        Count one row group.
        """
    def count_stream(self, stream: typing.Any, indices: collections.abc.Sequence[int]) -> int:
        """
        Count the rows of an Arrow stream by some of its columns; returns the rows.
        """

class GroupScan:
    """
    A grouped count over Parquet row groups or Arrow batches.
    """
    def __init__(
        self,
        kinds: collections.abc.Sequence[str],
        expected_rows: int,
        workers: int,
        dense_bytes: int,
        memory_bytes: int,
    ) -> None: ...
    def cancel(self) -> None:
        """
        Make running counts raise Cancelled; safe from any thread.
        """
    def finish(self) -> tuple[typing.Any, ...]: ...
    def null_id(self, column: int) -> int:
        """
        The id of NULL, made when there is none yet.
        """
    def numbers(self, column: int) -> npt.NDArray[np.uint64]: ...
    def seed_bytes(
        self,
        column: int,
        stream: typing.Any,
        fold: typing.Annotated[npt.ArrayLike, np.uint32],
        groups: int,
    ) -> None: ...
    def seed_numbers(
        self,
        column: int,
        keys: typing.Annotated[npt.ArrayLike, np.uint64],
        fold: typing.Annotated[npt.ArrayLike, np.uint32],
        groups: int,
    ) -> None: ...
    def set_external(self, column: int, groups: int) -> None: ...
    def strings(self, column: int) -> tuple[typing.Any, ...]: ...
    def value_null_id(self, column: int) -> typing.Any:
        """
        The id of NULL, or None.
        """
    def worker(self) -> ScanWorker: ...
    @property
    def isa(self) -> str:
        """
        The instruction set its kernels run with.
        """

class SortedStream:
    """
    Sorted rows, read once.
    """
    def __arrow_c_schema__(self) -> typing_extensions.CapsuleType: ...
    def __arrow_c_stream__(self, requested_schema: typing.Any = None) -> typing_extensions.CapsuleType:
        """
        The Arrow PyCapsule protocol; a stream is consumed once.
        """
    def raise_error(self) -> None:
        """
        Raise the error that ended the stream, if one did, as its segue class.
        """
    @property
    def metrics(self) -> dict[str, typing.Any]: ...
    @property
    def schema(self) -> typing.Any:
        """
        The stream's pyarrow.Schema.
        """

class JoinStream:
    """
    Joined rows, read once.
    """
    def __arrow_c_schema__(self) -> typing_extensions.CapsuleType: ...
    def __arrow_c_stream__(self, requested_schema: typing.Any = None) -> typing_extensions.CapsuleType:
        """
        The Arrow PyCapsule protocol; a stream is consumed once.
        """
    def raise_error(self) -> None:
        """
        Raise the error that ended the stream, if one did, as its segue class.
        """
    @property
    def dropped(self) -> int:
        """
        Rows without a match that an inner join left out so far.
        """
    @property
    def schema(self) -> typing.Any:
        """
        The stream's pyarrow.Schema.
        """

class BroadcastTable:
    """
    A dimension held whole, found by its unique key.
    """
    def __init__(self, stream: typing.Any, key: str) -> None: ...
    def __len__(self) -> int: ...
    def join(
        self,
        stream: typing.Any,
        on: str,
        columns: collections.abc.Sequence[str] | None = None,
        how: str = "inner",
    ) -> JoinStream: ...
    @property
    def dense(self) -> bool:
        """
        Whether keys index a table directly; else they are hashed.
        """
    @property
    def nbytes(self) -> int: ...

class BloomFilter:
    """
    A set of keys that answers "certainly not" or "probably".

    Cache-line blocked: a probe touches 64 bytes. At 10 bits a key about 1 % of the
    keys that were never added are taken for present; none that was added is missed.

    Keys are integers, dates and timestamps (by their integer), strings or binary,
    given as a numpy array of integers, an Arrow array or an iterable. The same
    number is the same key whatever its width. Nulls are never contained.

    Parameters
    ----------
    capacity
        Distinct keys expected. More raise the rate of false positives.
    bits_per_key
        Memory a key.

    Examples
    --------
    >>> from segue.kernels import BloomFilter
    >>> users = BloomFilter(1000)
    >>> users.add(["ann", "bob"])
    >>> users.contains(["bob", "eve"]).tolist()
    [True, False]
    >>> "ann" in users
    True
    """
    @staticmethod
    def from_bytes(data: bytes) -> BloomFilter:
        """
        The filter that `to_bytes` saved.
        """
    def __contains__(self, arg0: typing.Any) -> bool: ...
    def __init__(
        self, capacity: int, bits_per_key: typing.SupportsFloat | typing.SupportsIndex = 10.0
    ) -> None: ...
    def __len__(self) -> int: ...
    def add(self, keys: typing.Any) -> None:
        """
        Add keys.
        """
    def add_hashes(self, hashes: typing.Annotated[npt.ArrayLike, np.uint64]) -> None:
        """
        Add keys by 64-bit hashes of your own, whose bits must all be well mixed.
        """
    def contains(self, keys: typing.Any) -> npt.NDArray[np.bool]:
        """
        Whether each key is probably contained, as a numpy array of bool.
        """
    def contains_hashes(self, hashes: typing.Annotated[npt.ArrayLike, np.uint64]) -> npt.NDArray[np.bool]:
        """
        As `contains`, by 64-bit hashes of your own.
        """
    def to_bytes(self) -> bytes:
        """
        The filter as bytes with a checksum, the same on every machine.
        """
    @property
    def false_positive_rate(self) -> float:
        """
        The chance that a key never added is taken for present, from the bits now set.
        """
    @property
    def nbytes(self) -> int:
        """
        Memory of the filter in bytes.
        """
    @property
    def size(self) -> int:
        """
        How many keys were added, repeated ones included.
        """

def active_isa() -> str:
    """
    The instruction set that the kernels run with.
    """

def big_sort(
    stream: typing.Any,
    by: collections.abc.Sequence[tuple[str, bool]],
    memory: int,
    threads: int,
    spill_dir: str,
    batch_rows: int = 65536,
) -> SortedStream:
    """
    External merge sort by (column, descending) pairs, within `memory` bytes.
    """

def cpu_features() -> list[str]:
    """
    Names of the CPU features that the kernels know of.
    """

def hash_partition(
    stream: typing.Any, columns: collections.abc.Sequence[str], n: int
) -> npt.NDArray[np.int32]:
    """
    pmod(murmur3(columns, 42), n); int32.
    """

def murmur3(
    stream: typing.Any, columns: collections.abc.Sequence[str] | None, seed: int = 42
) -> npt.NDArray[np.int32]:
    """
    Spark's Murmur3 hash of the named columns (None: all), left to right; int32.
    """

def parse_page_header(data: bytes, path: str, offset: int) -> dict[str, typing.Any]: ...
def scan_combine(
    isa: str,
    first: typing.Annotated[npt.ArrayLike, np.uint32],
    first_stride: int,
    base: int,
    second: typing.Annotated[npt.ArrayLike, np.uint32],
    second_stride: int,
) -> npt.NDArray[np.uint32]: ...
def scan_expand(
    isa: str,
    levels: typing.Annotated[npt.ArrayLike, np.uint32],
    ids: typing.Annotated[npt.ArrayLike, np.uint32],
    null_id: int,
) -> npt.NDArray[np.uint32]: ...
def scan_gather(
    isa: str,
    map: typing.Annotated[npt.ArrayLike, np.uint32],
    codes: typing.Annotated[npt.ArrayLike, np.uint32],
) -> npt.NDArray[np.uint32]: ...
def scan_hybrid(isa: str, data: bytes, width: int, n: int, piece: int) -> typing.Any: ...
def scan_increment(
    isa: str,
    cells: typing.Annotated[npt.ArrayLike, np.uint32],
    limit: int,
    replicas: bool,
    prefetch: bool,
) -> npt.NDArray[np.uint32]: ...
def scan_isas() -> list[str]:
    """
    The instruction sets that scan kernels can run with here.
    """

def scan_max(isa: str, values: typing.Annotated[npt.ArrayLike, np.uint32]) -> int: ...
def scan_unpack(isa: str, data: bytes, width: int, first: int, n: int) -> npt.NDArray[np.uint32]: ...

_row_api: typing.Any
testing: ModuleType
