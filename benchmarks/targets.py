"""Every row of the targets as data: what is measured in which group, what must be reached, beside whom.

A suite names its group after a row here and gives ``extra_info`` the figures that the row asks for
(:attr:`Target.figure`; ``value`` unless said otherwise); the report does the rest. Figures of `reference` were
measured once on a small machine (2 cores, AVX-512, disk 0.3 GB/s with sync) to show the size of the step:
only ratios within one run count. What budgets and workloads call the story is the example that they come from:
a music service with 8.6 billion plays a day, each acknowledged within 8 ms, three hours for the nightly job
and two seconds for "Top Artists by Country".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MiB = 1 << 20
GiB = 1 << 30


@dataclass(frozen=True)
class Goal:
    """One condition: an absolute `bound`, or `times` the figure of contender `of`; at least or at most."""

    bound: float | None = None
    times: float | None = None
    of: str = ""
    """A contender of the same group, or ``group:contender``."""
    strict: bool = False
    """Less (or more) than, not equal."""
    per_rows: int | None = None
    """The bound is for so many rows, and scales with the rows measured."""
    otherwise: Goal | None = None
    """Where the contender that it names misses this bound as well, this one counts instead."""


@dataclass(frozen=True)
class Target:
    """One row: a figure of our contender in a group, its goals, and what others have."""

    id: str
    group: str
    title: str
    unit: str
    better: str
    """``higher``, ``lower``, or ``equal`` (within 5 % of the bound)."""
    goals: tuple[Goal, ...] = ()
    figure: str = "value"
    """Key of ``extra_info``."""
    contender: str = "segue"
    budget: str = ""
    """What the story allows itself."""
    reference: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Peers' figures measured before, and Segue's own goal in words is in `goals`."""
    speedup_over: str = ""
    """For a geometric mean over the groups that start with `group`: the peer that is divided by."""

    @property
    def act(self) -> str:
        """First part of the group: events, pipeline, query, journey, data."""
        return self.group.split("/")[0]

    def goal_text(self) -> str:
        """The goals in words: ``at least 4 M rows/s and at least 10 x rocksdict``."""
        return " and ".join(self._words(goal) for goal in self.goals) or "reported"

    def _words(self, goal: Goal) -> str:
        sign = {
            ("higher", False): "at least ",
            ("higher", True): "over ",
            ("lower", False): "at most ",
            ("lower", True): "under ",
            ("equal", False): "",
        }[self.better, goal.strict]
        if goal.bound is not None:
            text = f"{sign}{quantity(goal.bound, self.unit)}"
            if goal.per_rows is not None:
                text += f" for {quantity(goal.per_rows, 'rows')}"
        else:
            group, _, name = goal.of.rpartition(":")
            times = goal.times or 0.0
            share = f"1/{1 / times:g} of" if 0 < times < 0.5 else f"{times:g} x"
            text = f"{sign}{share} {name}" + (f" of {group}" if group else "")
        if goal.otherwise is None:
            return text
        return f"({text}, or {self._words(goal.otherwise)} where that misses it, too)"


def quantity(value: float, unit: str) -> str:
    """A figure for people: 4 M rows/s, 512 MiB, 0.35 s."""
    if unit == "bytes":
        for size, name in ((GiB, "GiB"), (MiB, "MiB"), (1 << 10, "KiB")):
            if value >= size:
                return f"{_three(value / size)} {name}"
        return f"{value:.0f} B"
    if unit in ("s", "ms", "us", "ns"):
        return f"{_three(value)} {'µs' if unit == 'us' else unit}"
    if unit in ("x", "bytes/byte"):
        return f"{_three(value)}{' x' if unit == 'x' else ''}"
    if unit == "%":
        return f"{value:.4g} %"
    space = "" if unit in ("B/s", "") else " "
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{_three(value / size)} {name}{space}{unit}"
    return f"{_three(value)} {unit}".strip()


def _three(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.2g}"


def rate(bound: float) -> Goal:
    return Goal(bound=bound)


def beats(peer: str, times: float, strict: bool = False) -> Goal:
    return Goal(times=times, of=peer, strict=strict)


_ONE = {"rocksdict": 168e3, "plyvel": 189e3, "db_bench skiplist": 129e3}
_BATCHES = {
    "rocksdict": 347e3,
    "plyvel": 355e3,
    "db_bench skiplist": 255e3,
    "db_bench vector": 865e3,
    "lmdb": 196e3,
    "sqlite3": 744e3,
}
_DURABLE = {
    "rocksdict": 294e3,
    "plyvel": 263e3,
    "db_bench skiplist": 217e3,
    "lmdb": 70e3,
    "sqlite3": 598e3,
    "duckdb": 328e3,
}

# fmt: off
_EVENTS = (
    Target("one-call", "events/one-call", "One call per event, durability os", "rows/s", "higher",
           (rate(1.2e6), beats("rocksdict", 6)), budget="100 K writes/s", reference=_ONE),
    Target("one-call-interval", "events/one-call-interval", "One call per event, synced every few ms", "rows/s",
           "higher", (rate(1.2e6), beats("rocksdict", 6)), budget="100 K writes/s", reference=_ONE),
    Target("batches", "events/batches", "Batches of 1000, not synced", "rows/s", "higher",
           (rate(4e6), beats("rocksdict", 10)), budget="100 K writes/s", reference=_BATCHES),
    Target("batches-durable", "events/batches-durable", "Batches of 1000, each durable (fsync)", "rows/s", "higher",
           (rate(3e6), beats("rocksdict", 10)), budget="100 K writes/s", reference=_DURABLE),
    Target("batches-sustained", "events/sustained",
           "Batches of 1000, synced every few ms, over the whole long run, flushes and merges going on", "rows/s",
           "higher", (rate(4e6), beats("rocksdict", 10)), figure="appended_rows_per_second"),
    Target("batches-settled", "events/sustained",
           "The same, and until flushes and merges have nothing left to do", "rows/s", "higher",
           figure="rows_per_second"),
    Target("sustained", "events/sustained", "Sustained: rate of the last tenth over the first's", "%", "higher",
           (Goal(bound=80),)),
    Target("latency-p50", "events/latency", "Acknowledgement, durable, at 100 K events/s: p50", "ms", "lower",
           (Goal(bound=1, strict=True),), figure="p50_ms", budget="8 ms at 100 K writes/s"),
    Target("latency-p99", "events/latency", "Acknowledgement, durable, at 100 K events/s: p99", "ms", "lower",
           (Goal(bound=2, strict=True),), figure="p99_ms", budget="8 ms at 100 K writes/s"),
    Target("latency-worst", "events/latency", "Acknowledgement, durable, at 100 K events/s: worst", "ms", "lower",
           (Goal(bound=8, strict=True, otherwise=Goal(times=1.5, of="pwrite+fdatasync")),), figure="worst_ms",
           budget="8 ms at 100 K writes/s"),
    Target("latency-first", "events/latency",
           "Acknowledgement, durable, of a table's very first batch, for which its log is made", "ms", "lower",
           figure="first_ms"),
    Target("own-stall", "events/latency-unsynced",
           "Stall that our own code adds: worst wait of a round, same load, not synced, less the bare loop's beside it, "
           "median of the rounds", "ms", "lower",
           (Goal(bound=2),), figure="added_ms"),
    Target("write-amplification", "events/write-amplification",
           "Bytes written to disk per byte of packed event, WAL and compaction included", "bytes/byte", "lower",
           (Goal(bound=3),), figure="written_per_byte"),
    Target("store-size", "events/store-size", "Store size on disk", "bytes", "lower", (beats("rocksdict", 0.5),),
           figure="store_bytes"),
    Target("store-size-open", "events/store-size", "Store size on disk while open, logs preallocated", "bytes",
           "lower", figure="store_bytes_while_open"),
    Target("memory", "events/memory", "Memory at defaults, whatever the data size (anonymous)", "bytes", "lower",
           (Goal(bound=512 * MiB),), figure="memory_anonymous"),
    Target("last-50-p99", "events/last-50", "Last 50 plays of a user, warm: p99", "ms", "lower",
           (Goal(bound=1, strict=True), beats("rocksdict", 1)), figure="p99_ms"),
    Target("last-50-p50", "events/last-50", "Last 50 plays of a user, warm: p50", "ms", "lower",
           (beats("rocksdict", 1),), figure="p50_ms"),
    Target("first-50-p99", "events/first-50", "Last 50 plays of a user not asked for before: p99", "ms", "lower",
           figure="first_p99_ms"),
    Target("first-50-p50", "events/first-50", "Last 50 plays of a user not asked for before: p50", "ms", "lower",
           figure="first_p50_ms"),
    Target("absent", "events/absent",
           "Absent user: blocks looked into, of filter probes (of which a filter errs on 1 % by design, on 1.2 % "
           "where it is full)", "%", "lower", (Goal(bound=1.2),), figure="absent_blocks_percent"),
    Target("absent-blocks", "events/absent", "Absent user: blocks looked into for a look-up", "", "lower",
           figure="absent_blocks_per_query"),
    Target("absent-filtered", "events/absent", "Absent user: filter probes that spared a look into blocks", "%",
           "higher", figure="filtered_percent"),
    Target("absent-p99", "events/absent", "Absent user: p99, warm", "ms", "lower", figure="absent_p99_ms"),
    Target("scan", "events/scan", "Scan of whole windows, all columns, two threads", "rows/s", "higher",
           (rate(50e6),)),
    Target("recovery", "events/recovery", "Crash recovery of a full WAL", "rows/s", "higher", (rate(5e6),)),
)

_PIPELINE = (
    Target("nightly", "pipeline/nightly", "Nightly ETL, 64 partitions, 7 columns joined, zstd Parquet", "rows/s",
           "higher", (rate(5e6), beats("polars", 2.5), beats("spark", 8)), budget="8.6 B rows in 3 h",
           reference={"spark": 0.59e6, "duckdb": 1.37e6, "polars": 1.93e6}),
    Target("nightly-memory", "pipeline/nightly", "Nightly ETL: peak memory (anonymous)", "bytes", "lower",
           (Goal(bound=GiB),), figure="memory_anonymous", reference={"duckdb": 2.1e9, "polars": 4.1e9}),
    Target("nightly-output", "pipeline/nightly", "Nightly ETL: bytes of output", "bytes", "lower",
           (beats("duckdb", 1), beats("polars", 1), beats("spark", 1)), figure="output_bytes",
           reference={"spark": 879e6, "duckdb": 879e6, "polars": 953e6}),
    Target("nightly-files", "pipeline/nightly", "Nightly ETL: files of output", "", "equal", figure="files"),
    Target("nightly-input", "pipeline/nightly", "Nightly ETL: bytes in, as stored", "bytes", "lower",
           figure="input_bytes"),
    Target("nightly-ratio", "pipeline/nightly", "Nightly ETL: packed event bytes over bytes out", "x", "higher",
           figure="compression_ratio", budget="10 x against raw events"),
    Target("nightly-threads", "pipeline/threads", "Nightly ETL: two threads over one", "x", "higher",
           (Goal(bound=1.7),)),
    Target("nightly-128MiB", "pipeline/memory-128MiB", "Nightly ETL within 128 MiB, spilling", "rows/s", "higher",
           (beats("pipeline/nightly:segue", 0.5),)),
    Target("nightly-128MiB-memory", "pipeline/memory-128MiB",
           "Nightly ETL within 128 MiB: memory that the job adds (anonymous)", "bytes", "lower",
           (Goal(bound=128 * MiB),), figure="added_memory"),
    Target("nightly-linear", "pipeline/linear", "Nightly ETL: time of 4 x the rows", "x", "lower",
           (Goal(bound=4.4),)),
    Target("nightly-extrapolated", "pipeline/extrapolated", "8.6 B events, extrapolated from the measured slope",
           "s", "lower", (Goal(bound=1800, strict=True),), budget="3 h on 1000 nodes"),
    Target("big-sort", "pipeline/big-sort", "BigSort in memory, one thread: (int64 key, 16-byte payload)", "rows/s",
           "higher", (rate(20e6), beats("duckdb", 2))),
    Target("big-sort-io", "pipeline/big-sort-external",
           "External BigSort: bytes read and written over the formula's", "x", "equal", (Goal(bound=1.0),)),
    Target("big-sort-formula", "pipeline/big-sort-external", "External BigSort: bytes of the formula", "bytes",
           "lower", figure="formula_bytes"),
    Target("big-sort-moved", "pipeline/big-sort-external", "External BigSort: bytes read and written", "bytes",
           "lower", figure="bytes_moved"),
)

_TOP = {"duckdb": 6.95, "polars": 9.08, "datafusion": 10.7, "chdb": 7.44, "pyarrow": 3.19,
        "duckdb native": 4.52, "chdb MergeTree": 7.74}
_FAMILY = (
    ("last-week", "Last week only", 3.50, 1.77),
    ("by-country", "Count by country", 0.32, 0.68),
    ("devices", "Device statistics with an IN filter", 1.10, 2.34),
    ("top-songs", "Top songs over 30 s played, joined to titles", 5.73, 8.23),
    ("day-genre", "Plays and time by day and genre", 0.81, 1.79),
    ("one-artist", "One artist by country", 0.43, 1.45),
    ("distinct-users", "Distinct users by country over three days", 0.90, 0.85),
)
_QUERY = (
    Target("top-artists", "query/top-artists", "Top Artists by Country, our warehouse", "s", "lower",
           (Goal(bound=0.35, per_rows=100_000_000), beats("duckdb", 1 / 20), beats("pyarrow", 1 / 9)),
           budget="2 s", reference=_TOP),
    Target("top-artists-memory", "query/top-artists", "Top Artists by Country: memory (anonymous)", "bytes", "lower",
           (Goal(bound=GiB, strict=True),), figure="memory_anonymous"),
    Target("top-artists-foreign", "query/top-artists-foreign", "Top Artists by Country, zstd files of others", "s",
           "lower", (Goal(bound=0.6, per_rows=100_000_000),), budget="2 s", reference=_TOP),
    Target("billion", "query/billion", "One billion rows, plain scan", "s", "lower", (Goal(bound=2),), budget="2 s"),
    *(Target(f"family-{name}", f"query/family/{name}", title, "s", "lower", (beats("duckdb", 1),),
             reference={"duckdb": duckdb, "chdb": chdb}) for name, title, duckdb, chdb in _FAMILY),
    Target("family", "query/family/", "The family of queries: geometric mean of the speed-up over DuckDB", "x",
           "higher", (Goal(bound=6),), speedup_over="duckdb"),
    Target("delegated", "query/delegated", "Delegated query beside DuckDB itself", "s", "lower",
           (beats("duckdb", 1.1),)),
    Target("query-threads", "query/threads", "Top Artists by Country: two threads over one", "x", "higher",
           (Goal(bound=1.7),)),
    Target("bytes-read", "query/bytes-read", "Bytes read over bytes of the pages needed", "x", "lower",
           (Goal(bound=1.0),)),
    Target("first-query", "query/first", "First query in a fresh process over a warm one, import included", "s",
           "lower", (Goal(bound=0.5, strict=True),)),
)

_DATA = (
    Target("datagen", "data/facts", "Fact rows made by segue.datagen, two threads", "rows/s", "higher", (rate(3e6),)),
)

_JOURNEY = (
    Target("fresh", "journey/fresh", "From append returning to being counted with fresh=True: worst", "ms", "lower",
           (Goal(bound=100, strict=True),), figure="worst_ms"),
)
# fmt: on

TARGETS: tuple[Target, ...] = (*_EVENTS, *_PIPELINE, *_QUERY, *_JOURNEY, *_DATA)
"""In the order of the report."""
