"""How a kernel is measured: in this process, on one thread, checked, beside a lower bound of its time.

A suite makes the input, checks the kernel's output against numpy or the scalar twin, and hands over a
function that runs the kernel over all rows in one native call::

    @pytest.mark.parametrize("isa", _engine.testing.crc32c_isas())
    def test_crc32c(kernel, isa):
        ran, _ = kernel("crc32c", "4 KiB", lambda: testing.crc32c_pieces(isa, data, 4096),
                        rows=len(data) // 4096, cost=Cost(read=len(data)), isa=isa)
        assert ran == isa
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import harness, machine

ROWS = {"small": 1 << 19, "medium": 1 << 22, "large": 1 << 24}

SECONDS = {"small": 0.04, "medium": 0.5, "large": 1.5}
"""Of measuring for each figure; more rounds than that many seconds hold are not run."""

LEAST_ROUNDS, MOST_ROUNDS = 3, 30

NOT_DISPATCHED = "baseline"
"""The instruction set of a kernel that has one form only."""


@dataclass(frozen=True)
class Cost:
    """What no implementation of a kernel can do without, over all rows of a call."""

    read: float = 0
    """Bytes that memory delivers in order."""
    written: float = 0
    """Bytes that memory takes."""
    fetches: float = 0
    """Words from places that follow no order."""
    working_set: float = 0
    """Bytes that those places are spread over."""
    disk: float = 0
    """Bytes written to disk and synced."""

    def bounds(self, work: str | None) -> dict[str, float]:
        """Return the least seconds that each resource of this machine allows; `work` lies on the disk."""
        memory = machine.memory_bandwidth()
        copied = min(self.read, self.written)
        streamed = copied / memory["memory_copy_bytes_per_second"]
        streamed += (self.read - copied) / memory["memory_read_bytes_per_second"]
        streamed += (self.written - copied) / memory["memory_copy_bytes_per_second"]
        found = {"memory bandwidth": streamed}
        if self.fetches:
            found["random reads"] = self.fetches / machine.random_reads(int(self.working_set))
        if self.disk:
            found["disk bandwidth"] = self.disk / machine.probes(work)["disk_write_bytes_per_second"]
        return found


class Kernel:
    """The fixture `kernel`; see the module's example."""

    def __init__(self, benchmark: Any, scale: str, directory: Path, work: str | None) -> None:
        self._benchmark = benchmark
        self._scale = scale
        self._work = work
        self.directory = directory
        """On the disk to be measured; removed afterwards."""

    @property
    def rows(self) -> int:
        return ROWS[self._scale]

    def at(self, small: int, medium: int, large: int) -> int:
        """Choose a size by the scale."""
        return {"small": small, "medium": medium, "large": large}[self._scale]

    def __call__(
        self,
        name: str,
        variant: str,
        run: Callable[..., Any],
        *,
        rows: int,
        cost: Cost,
        isa: str | None = None,
        setup: Callable[[], tuple[Any, ...]] | None = None,
        nbytes: float | None = None,
        **facts: Any,
    ) -> Any:
        """Measure ``run(*setup())``, record it as the group ``kernels/<name>``, and return its last result.

        `rows` are the kernel's units in a call (rows, values, probes); `isa` is the instruction set that it
        ran with, or the part of it that is dispatched at run time, and None where nothing is; `nbytes` are
        the bytes of its rate, if not those of the cost. Further `facts` go to ``extra_info``.
        """
        began = time.perf_counter()
        run(*(setup() if setup is not None else ()))
        rounds = int(SECONDS[self._scale] / (time.perf_counter() - began))
        result = self._benchmark.pedantic(
            run,
            setup=None if setup is None else lambda: (setup(), {}),
            rounds=max(LEAST_ROUNDS, min(MOST_ROUNDS, rounds)),
            iterations=1,
        )
        if self._benchmark.stats is not None:
            seconds = self._benchmark.stats.stats.median
            bounds = cost.bounds(self._work)
            limit = max(bounds, key=lambda name: bounds[name])
            facts |= {
                "limit": limit,
                "limit_percent": 100 * bounds[limit] / seconds,
                "bytes_per_second": (nbytes or cost.read + cost.written) / seconds or None,
            }
        set_of = isa or NOT_DISPATCHED
        harness.annotate(
            self._benchmark,
            f"kernels/{name}",
            contender=f"{variant}, {set_of}",
            rows=rows,
            unit="ns/row",
            scale=self._scale,
            threads=1,
            variant=variant,
            isa=set_of,
            **facts,
        )
        return result
