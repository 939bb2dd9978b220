"""The section of the kernels: a table each, with what instruction sets gain and how far the limit is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.report.markdown import duration, spread, table
from benchmarks.report.results import Entry, Results
from benchmarks.targets import quantity

INTRODUCTION = """\
Each kernel on one thread, over all rows in one native call, its output checked. A row is what the kernel
takes one of: a row, value, probe, record or piece. The machine's limit is the least time that its memory
(read and copied in order, or read at random places in as many bytes as the kernel's structures take) or its
disk needs for what no implementation can do without; above 100 % the data came from a cache, or from places
less random than the probe's. The instruction set is the one that the kernel ran with, or, where only a part
is chosen at run time, that part: bit unpacking in block decoding, checksums in logs and spilled runs.
"baseline" is a kernel of which nothing is.
"""

TITLES = {
    "skiplist-insert": "Skiplist: insert",
    "skiplist-find": "Skiplist: find",
    "wal-append": "WAL append",
    "crc32c": "CRC32C",
    "bloom-probe": "Bloom filter: probes of absent keys",
    "bloom-false-positives": "Bloom filter: false positives",
    "block-encode": "Block encoding",
    "block-decode": "Block decoding",
    "hash-partition": "Hash partition",
    "run-generation": "Run generation",
    "merge": "Merge by fan-in",
    "join-probe": "Join probe",
    "bit-unpack": "Bit unpack by width, to 32 bits",
    "bit-unpack-64": "Bit unpack by width, to 64 bits",
    "group-count": "Group count by cardinality",
}


def section(results: Results, images: Sequence[str]) -> str:
    kernels = titled(results)
    if not kernels:
        return "## Kernels\n\nNot measured.\n"
    parts = ["## Kernels\n", INTRODUCTION, _unused(results), *images]
    parts += [_kernel(group, title, results) for group, title in kernels]
    return "\n".join(part for part in parts if part)


def titled(results: Results) -> list[tuple[str, str]]:
    """Return groups of kernels with their titles, in the order of the way of the data."""
    measured = [group.partition("/")[2] for group in results.groups("kernels/")]
    others = {name: name.replace("-", " ").capitalize() for name in measured if name not in TITLES}
    return [(f"kernels/{name}", title) for name, title in (TITLES | others).items() if name in measured]


def _kernel(group: str, title: str, results: Results) -> str:
    entries = [entry for entry in results.entries if entry.group == group]
    scalar = {_variant(e): e for e in entries if e.info.get("isa") == "scalar"}
    columns: dict[str, Callable[[Entry], str]] = {
        "variant": _variant,
        "instruction set": lambda e: str(e.info.get("isa", "")),
        "rate": lambda e: _figure(e, "rate", "rows/s"),
        "per row": _per_row,
        "bytes": lambda e: _figure(e, "bytes_per_second", "B/s"),
        "over scalar": lambda e: _over(e, scalar.get(_variant(e))),
        "of the machine's limit": _limit,
        "false positives": lambda e: _percent(e, "false_positive_percent"),
        "in theory": lambda e: _percent(e, "theory_percent"),
        "spread": lambda e: spread(e.stats),
    }
    rows = [[show(entry) for show in columns.values()] for entry in entries]
    kept = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    header = list(columns)
    alone = f"Alone: `{entries[0].command}`\n\n" if entries[0].command else ""
    return f"### {title}\n\n{alone}" + table(
        [header[i] for i in kept], [[row[i] for i in kept] for row in rows]
    )


def _unused(results: Results) -> str:
    """What the processor has and no kernel uses."""
    has = {f for run in results.runs for f in run.get("segue", {}).get("machine", {}).get("cpu_features", [])}
    used = {str(e.info.get("isa")) for e in results.entries if e.group.startswith("kernels/")}
    wide = sorted(feature for feature in has if feature.startswith("avx512"))
    if not wide or any(isa.startswith("avx512") for isa in used):
        return ""
    return f"The processor also has {' and '.join(wide)}; no kernel measured here uses it.\n"


def _variant(entry: Entry) -> str:
    return str(entry.info.get("variant", entry.contender))


def _figure(entry: Entry, name: str, unit: str) -> str:
    value = entry.figure(name)
    return "" if value is None else quantity(value, unit)


def _per_row(entry: Entry) -> str:
    value = entry.figure()
    if value is None:
        return ""
    return duration(value / 1e9) if entry.unit == "ns/row" else quantity(value, entry.unit)


def _over(entry: Entry, scalar: Entry | None) -> str:
    mine, other = entry.figure(), None if scalar is None else scalar.figure()
    return "" if entry is scalar or not mine or not other else f"{other / mine:.3g} x"


def _limit(entry: Entry) -> str:
    percent = entry.figure("limit_percent")
    if percent is None:
        return ""
    share = f"{percent:.0f}" if percent >= 10 else f"{percent:.2g}"
    return f"{share} % {entry.info.get('limit', '')}".strip()


def _percent(entry: Entry, name: str) -> str:
    value = entry.figure(name)
    return "" if value is None else f"{value:.3f} %"
