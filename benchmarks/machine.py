"""Facts about the machine and probes of its limits, for the results."""

from __future__ import annotations

import functools
import os
import platform
import sqlite3
import statistics
import subprocess
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = (
    "segue",
    "numpy",
    "pyarrow",
    "deltalake",
    "duckdb",
    "sqlglot",
    "polars",
    "datafusion",
    "chdb",
    "pyspark",
    "rocksdict",
    "plyvel",
    "lmdb",
    "pytest-benchmark",
)


@functools.cache
def commit() -> str | None:
    """Commit of the source tree that the suites lie in, with ``+changes`` if it differs from it."""
    root = Path(__file__).resolve().parent.parent
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None  # an unpacked sdist has no history


@functools.cache
def facts() -> dict[str, Any]:
    """Processor, memory, kernel, disk and versions; nothing that changes from run to run."""
    return {
        "cpu": _cpu_model(),
        "cpu_features": _cpu_features(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_system": file_system(Path(tempfile.gettempdir())),
        "versions": {name: version for name in LIBRARIES if (version := _version(name)) is not None}
        | {"sqlite3": sqlite3.sqlite_version},
    }


@functools.cache
def probes(directory: str | None = None) -> dict[str, float]:
    """Measure what the machine itself can do, in under two seconds; the disk at `directory`."""
    return {
        **memory_bandwidth(),
        "memory_random_reads_per_second": random_reads(),
        **disk(Path(directory or tempfile.gettempdir())),
    }


@functools.cache
def memory_bandwidth() -> dict[str, float]:
    """Bytes a second that one core reads, and copies (bytes copied, so twice as many moved)."""
    import numpy as np

    from segue import _engine

    source = np.ones(16 << 20, dtype=np.uint64)  # 128 MiB: beyond any cache
    target = np.empty_like(source)

    def best(work: Any) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        return source.nbytes / min(times)

    return {
        "memory_read_bytes_per_second": best(lambda: _engine.testing.sequential_reads(source)),
        "memory_copy_bytes_per_second": best(lambda: np.copyto(target, source)),
    }


def random_reads(working_set: int = 128 << 20) -> float:
    """Words a second that one core fetches from random places of so many bytes.

    They are rounded up to a power of two, of 4 KiB to 128 MiB: less is in the first cache, more beyond all.
    """
    return _random_reads(min(max(12, (working_set - 1).bit_length()), 27))


@functools.cache
def _random_reads(bits: int) -> float:
    import numpy as np

    from segue import _engine

    words = np.ones((1 << bits) // 8, dtype=np.uint64)
    reads = 1 << 20
    times = []
    for _ in range(5):
        began = time.perf_counter()
        _engine.testing.random_reads(words, reads)
        times.append(time.perf_counter() - began)
    return reads / min(times)


def disk(directory: Path, megabytes: int = 64, syncs: int = 100) -> dict[str, float]:
    """Sequential write with one sync at the end, and 4 KiB ``pwrite`` + ``fdatasync`` in place."""
    sync = getattr(os, "fdatasync", os.fsync)
    descriptor, name = tempfile.mkstemp(prefix="segue-probe-", dir=directory)
    try:
        block = os.urandom(1 << 20)
        began = time.perf_counter()
        for index in range(megabytes):
            os.pwrite(descriptor, block, index << 20)
        sync(descriptor)
        rate = (megabytes << 20) / (time.perf_counter() - began)
        latencies = []
        for index in range(syncs):
            began = time.perf_counter()
            os.pwrite(descriptor, block[:4096], index << 12)
            sync(descriptor)
            latencies.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        os.unlink(name)
    return {
        "disk_write_bytes_per_second": rate,
        "disk_sync_seconds_p50": statistics.median(latencies),
        "disk_sync_seconds_max": max(latencies),
    }


def file_system(path: Path) -> str:
    """Type of the file system that `path` lies on; ``unknown`` where there is no ``/proc/mounts``."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    real = path.resolve()
    fitting = [(point, kind) for point, kind in mounts if real.is_relative_to(point)]
    return max(fitting, key=lambda mount: len(mount[0]))[1] if fitting else "unknown"


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Processor")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cpu_features() -> list[str]:
    from segue import kernels

    return kernels.cpu_features()


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
