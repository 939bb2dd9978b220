"""What a process uses while it measures something: memory, processor, input and output.

Thread safety: one meter per process; its sampling thread and :class:`benchmarks.harness.Timer` share it
under a lock. Anonymous memory and mapped file pages are sampled apart (``RssAnon`` and ``RssFile`` of
``/proc/PID/status``) with those of the child processes added, so that a JVM counts too. Where there is no
``/proc`` (macOS) the split is not known, and the figures are None.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PERIOD = 0.01
_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc/self/status").exists()

active: Meter | None = None
"""The meter of this process while a contender runs; :class:`benchmarks.harness.Timer` asks it."""


@dataclass(frozen=True)
class Counters:
    """Monotonic counters of a process and its children; bytes as the operating system counts them."""

    cpu_seconds: float = 0.0
    read_bytes: int = 0
    """Fetched from storage; nothing when the page cache had it."""
    written_bytes: int = 0
    """Sent to storage (or dirtied and not truncated since), mapped pages included."""
    read_syscall_bytes: int = 0
    """Through read calls, from cache or not; mapped reads do not show."""
    written_syscall_bytes: int = 0

    def __sub__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, n) - getattr(other, n) for n in self.__dataclass_fields__))

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, n) + getattr(other, n) for n in self.__dataclass_fields__))

    def shared(self, parts: int) -> Counters:
        """Return what one of so many parts used, on average."""
        cpu, *counts = (getattr(self, name) for name in self.__dataclass_fields__)
        return Counters(cpu / parts, *(count // parts for count in counts))


class Meter:
    """Samples memory peaks in a thread; counts processor and io by difference."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="meter", daemon=True)
        self._children: list[int] = []
        self._peak_anonymous = 0
        self._peak_mapped = 0
        self._timed: Counters | None = None
        self._watching = True

    def __enter__(self) -> Self:
        global active
        active = self
        self._began = time.perf_counter()
        self._before = self.counters()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        global active
        active = None
        self._stop.set()
        self._thread.join()
        self.look()
        self._wall = time.perf_counter() - self._began
        self._after = self.counters()

    def look(self) -> int:
        """Take one sample of memory now; return its anonymous bytes."""
        anonymous = mapped = 0
        for pid in [os.getpid(), *self._children]:
            here = _resident(pid)
            anonymous, mapped = anonymous + here[0], mapped + here[1]
        with self._lock:
            if self._watching:
                self._peak_anonymous = max(self._peak_anonymous, anonymous)
                self._peak_mapped = max(self._peak_mapped, mapped)
        return anonymous

    def reset_peaks(self) -> None:
        """Forget the peaks so far: what set-up took does not count."""
        with self._lock:
            self._peak_anonymous = self._peak_mapped = 0

    def watch(self, watching: bool) -> None:
        """Let samples of memory count, or no longer: what reading the output back takes does not."""
        if not watching:
            self.look()
        with self._lock:
            self._watching = watching
        if watching:
            self.look()

    def counters(self) -> Counters:
        """Counters of this process and its living or reaped children, now."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = own.ru_utime + own.ru_stime + reaped.ru_utime + reaped.ru_stime
        total = Counters(cpu_seconds=cpu) + _io(os.getpid())
        for pid in self._children:
            total += Counters(cpu_seconds=_cpu(pid)) + _io(pid)
        return total

    def add_timed(self, used: Counters) -> None:
        """Count what one measured part used; once there is one, set-up no longer counts."""
        self._timed = used if self._timed is None else self._timed + used

    def usage(self) -> dict[str, float | int | None]:
        """Figures of the measured parts, or of the whole run if none was marked."""
        used = self._timed if self._timed is not None else self._after - self._before
        return {"wall_seconds": self._wall, **self.figures(used)}

    def figures(self, used: Counters) -> dict[str, float | int | None]:
        """Say what was used, and the peaks of memory so far, or since they were reset."""
        return {
            "cpu_seconds": used.cpu_seconds,
            "read_bytes": used.read_bytes if _PROC else None,
            "written_bytes": max(used.written_bytes, 0) if _PROC else None,
            "read_syscall_bytes": used.read_syscall_bytes if _PROC else None,
            "written_syscall_bytes": used.written_syscall_bytes if _PROC else None,
            "memory_anonymous": self._peak_anonymous if _PROC else None,
            "memory_mapped": self._peak_mapped if _PROC else None,
        }

    def _sample(self) -> None:
        if not _PROC:
            return
        count = 0
        while not self._stop.wait(PERIOD):
            if count % 50 == 0:  # looking through all threads for children costs more than a sample
                self._children = list(_descendants(os.getpid()))
            count += 1
            self.look()


def _lines(path: str) -> list[str]:
    """Return the lines of a file under /proc; none when its process has ended."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readlines()
    except OSError:
        return []


def _resident(pid: int) -> tuple[int, int]:
    anonymous = mapped = 0
    for line in _lines(f"/proc/{pid}/status"):
        if line.startswith("RssAnon:"):
            anonymous = int(line.split()[1]) << 10
        elif line.startswith("RssFile:"):
            mapped = int(line.split()[1]) << 10
            break
    return anonymous, mapped


def _io(pid: int) -> Counters:
    found = {name: int(value) for name, value in (line.split(": ") for line in _lines(f"/proc/{pid}/io"))}
    if not found:
        return Counters()
    return Counters(
        read_bytes=found["read_bytes"],
        written_bytes=found["write_bytes"] - found["cancelled_write_bytes"],
        read_syscall_bytes=found["rchar"],
        written_syscall_bytes=found["wchar"],
    )


def _cpu(pid: int) -> float:
    for line in _lines(f"/proc/{pid}/stat"):
        after_name = line.rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / _TICKS
    return 0.0


def _descendants(pid: int) -> Iterator[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        for line in _lines(f"/proc/{pid}/task/{thread}/children"):
            for child in map(int, line.split()):
                yield child
                yield from _descendants(child)
