"""Real input: files of any common tabular format, and listening histories.

:func:`ingest` is what ``segue ingest`` calls. It streams, so a file may be larger than
memory; it counts what it skips and why; and importing the same file again adds nothing.

Examples
--------
>>> import segue
>>> from segue.importers import ingest
>>> db = segue.open("shop")  # doctest: +SKIP
>>> print(ingest(db, ["orders.parquet"], "orders", key="customer", time="at"))  # doctest: +SKIP
"""

from __future__ import annotations

from segue.importers.ingest import ingest
from segue.importers.report import FileReport, ImportReport, Progress

__all__ = ["FileReport", "ImportReport", "Progress", "ingest"]
