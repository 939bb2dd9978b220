"""A scan that is half read: the rest must be what it was when the scan began, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

Row = tuple[Any, ...]


class OpenReading:
    """An iterator over a scan, and what it has given so far."""

    def __init__(
        self,
        scan: Any,
        as_reader: bool,
        check: Callable[[list[Row]], None],
        rows_of: Callable[[Any], list[Row]],
    ) -> None:
        self._batches: Iterator[pa.RecordBatch] = iter(scan.to_reader() if as_reader else scan.batches())
        self._check = check
        self._rows_of = rows_of
        self._found: list[Row] = []
        self.ended = False

    def read(self, batches: int | None) -> None:
        """So many batches more, or all; what came is checked once there is no more."""
        while not self.ended and (batches is None or batches > 0):
            batch = next(self._batches, None)
            if batch is None:
                self.ended = True
                self._check(self._found)
                return
            self._found += self._rows_of(pa.Table.from_batches([batch]))
            batches = None if batches is None else batches - 1
