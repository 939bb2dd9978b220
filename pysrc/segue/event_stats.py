"""What an open event table says of itself: sizes, counts, latencies, and why writers waited.

Plain values, filled by the store; see :meth:`segue.events.Events.stats`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

__all__ = ["CommitLatency", "EventStats", "Stall"]


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
    wal_bytes_written: int
    table_bytes_written: int
    syncs: int
    """Syncs of the WAL; several waiting callers share one."""
    commits: CommitLatency
    """How long callers waited to be durable."""
    flushes: int
    stalls: dict[str, Stall]
    """Why writers waited: ``"pace"`` (slowed down, as flushes fall behind), ``"flush"`` (stopped until one
    was done), ``"merge"`` (sorted rows, as the background fell behind), ``"log"`` (began a new WAL file)."""
    bloom_probes: int
    bloom_useful: int
    """Bloom filter probes that spared reading a table."""
    background_error: str
    """What the last failed background work said; empty when all is well."""

    @property
    def rows_per_second(self) -> float:
        """Events appended a second, on average since the table was opened."""
        return self.appended_rows / self.seconds if self.seconds > 0 else 0.0

    def __repr__(self) -> str:
        values = (f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))
        return f"EventStats({', '.join(values)})"

    def __str__(self) -> str:
        names = [field.name for field in fields(self)]
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
    if isinstance(value, float):
        return f"{value:.1f}"
    if name.endswith(("bytes", "bytes_written")):
        return f"{value:,} ({value / 2**20:.1f} MiB)"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"
