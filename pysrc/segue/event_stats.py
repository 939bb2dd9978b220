"""What an open event table says of itself: sizes, counts, latencies, and why writers waited.

Plain values, filled by the store; see :meth:`segue.events.Events.stats`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

__all__ = ["CommitLatency", "EventStats", "Stall", "WindowStats"]


@dataclass(frozen=True)
class CommitLatency:
    """How long callers waited for their events to be durable (``durability="commit"``), in seconds.

    Examples
    --------
    >>> commits = CommitLatency(buckets=((0.0002, 98), (0.001, 2)), longest=0.00093)
    >>> commits.count, commits.percentile(50), commits.percentile(99)
    (100, 0.0002, 0.00093)
    """

    buckets: tuple[tuple[float, int], ...] = ()
    """(upper bound, count) of each nonempty bucket, ascending; a bound is at most an eighth too high."""
    longest: float = 0.0

    @property
    def count(self) -> int:
        """How many commits there were."""
        return sum(count for _, count in self.buckets)

    def percentile(self, percent: float) -> float:
        """Return the time in which so many per cent of the commits were done; 0.0 when there were none."""
        rank = percent / 100 * self.count
        seen = 0
        for bound, count in self.buckets:
            seen += count
            if seen >= rank:
                return min(bound, self.longest)
        return self.longest

    def __repr__(self) -> str:
        if not self.buckets:
            return "CommitLatency(count=0)"
        parts = [f"p{percent:g}={_time(self.percentile(percent))}" for percent in (50, 90, 99, 99.9)]
        return f"CommitLatency(count={self.count}, {', '.join(parts)}, longest={_time(self.longest)})"


@dataclass(frozen=True)
class Stall:
    """How often writers waited for one reason, and how long in all."""

    count: int
    seconds: float

    def __repr__(self) -> str:
        return f"Stall(count={self.count}, {_time(self.seconds)})"


class WindowStats(NamedTuple):
    """SSTables of one time window, or of several that share files."""

    min_time: int
    """In the unit of the time column, as `max_time`."""
    max_time: int
    shared: bool
    """Several windows of few events share these files."""
    tables: int
    rows: int
    bytes: int


@dataclass(frozen=True, repr=False)
class EventStats:
    """State and counters of one open event table: sizes in bytes, counts since it was opened or as said.

    ``str(stats)`` and ``print(stats)`` give one line a figure.
    """

    seconds: float
    """Time since it was opened."""
    sequence: int
    """Highest sequence number given out."""
    synced_sequence: int
    """Every event up to it survives power loss."""
    flushed_sequence: int
    """Every event up to it is in an SSTable."""
    skiplist_rows: int
    """Rows in the active skiplist now."""
    run_rows: int
    """Rows in the sorted runs of all memtables now."""
    runs: int
    """Sorted runs of the active memtable now."""
    immutable_memtables: int
    """Memtables waiting for flush now."""
    memtable_bytes: int
    """Memory of all memtables now."""
    tables: int
    """SSTables now."""
    table_rows: int
    """Rows in them now."""
    table_bytes: int
    """Their size on disk now."""
    tokens: int
    """Idempotency tokens known now."""
    appended_rows: int
    appended_bytes: int
    """Of events as they are packed for the log."""
    wal_bytes_written: int
    table_bytes_written: int
    syncs: int
    """Syncs of the WAL; several waiting callers share one."""
    commits: CommitLatency
    """How long callers waited to be durable; ``append_async`` calls that shared a commit are one."""
    flushes: int
    stalls: dict[str, Stall]
    """Why writers waited: ``"pace"`` (slowed down, as flushes fall behind), ``"flush"`` (stopped until one
    was done), ``"log"`` (began a new WAL file)."""
    bloom_probes: int
    bloom_useful: int
    """Bloom filter probes that spared reading a table."""
    bloom_false_positives: int
    """Probes that let a table through which did not have the key."""
    cache_hits: int
    """Blocks that a read by key found in the block cache, or its rows of them."""
    cache_misses: int
    """Blocks that it did not find there."""
    cache_bytes: int
    """What the block cache holds now."""
    cache_capacity: int
    """The most that it may hold, in bytes."""
    blocks_read: int
    """Blocks of SSTables read from their files, whole or in part."""
    block_bytes_read: int
    compactions: int
    """Merges of SSTables."""
    compaction_bytes_read: int
    compaction_bytes_written: int
    compaction_pending_bytes: int
    """Of SSTables that are due to be merged now."""
    retired_tables: int
    """Files that wait for their last reader now, to be removed."""
    write_amplification: float
    """Bytes written to logs and SSTables, merges included, for each byte of packed event."""
    windows: tuple[WindowStats, ...]
    """SSTables by time window now, the oldest first."""
    background_error: str
    """What the last failed background work said; empty when all is well."""

    @property
    def rows_per_second(self) -> float:
        """Events appended a second, on average since the table was opened."""
        return self.appended_rows / self.seconds if self.seconds > 0 else 0.0

    def __repr__(self) -> str:
        values = [f"{field.name}={getattr(self, field.name)!r}" for field in fields(self)]
        return f"EventStats({', '.join(values)}, rows_per_second={self.rows_per_second:.0f})"

    def __str__(self) -> str:
        names = [field.name for field in fields(self)]
        names.insert(names.index("appended_rows") + 1, "rows_per_second")
        width = max(map(len, names))
        return "\n".join(f"{name:<{width}}  {_text(name, getattr(self, name))}" for name in names)


def _text(name: str, value: Any) -> str:
    if isinstance(value, CommitLatency):
        return repr(value)[len("CommitLatency(") : -1]
    if isinstance(value, dict):
        waits = [
            f"{cause} {stall.count} ({_time(stall.seconds)})" for cause, stall in value.items() if stall.count
        ]
        return ", ".join(waits) or "none"
    if isinstance(value, tuple):
        files = max((window.tables for window in value), default=0)
        return f"{len(value)}, with at most {files} files each"
    if isinstance(value, float):
        return f"{value:,.0f}" if name.endswith("per_second") else f"{value:.2f}"
    if name.endswith(("bytes", "bytes_written", "bytes_read", "capacity")):
        return f"{value:,} ({value / 2**20:.1f} MiB)"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"
