"""Segue: an embedded event engine for Python.

One directory, the database, holds event tables and a warehouse; one process takes events in,
reshapes them every night and answers dashboards.

Examples
--------
>>> import segue, tempfile
>>> with tempfile.TemporaryDirectory() as folder, segue.open(folder + "/music") as db:
...     db.put_dimension("artists", {"artist_id": [1], "artist": ["Miles Davis"]}, key="artist_id")
...     db.sql("SELECT artist FROM artists").fetchall()
[('Miles Davis',)]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import datagen, errors, importers, kernels
    from .database import Database, WideningWarning, open
    from .errors import (
        BudgetError,
        Cancelled,
        ClosedError,
        CorruptionError,
        Error,
        InvalidError,
        LockedError,
        QueryError,
        ReadOnlyError,
        SchemaError,
        StorageError,
        UnsupportedError,
    )
    from .events import Events
    from .pipeline import Job, Pipeline, broadcast
    from .pipeline_run import RunReport
    from .query import sql
    from .result import Result

__all__ = [
    "BudgetError",
    "Cancelled",
    "ClosedError",
    "CorruptionError",
    "Database",
    "Error",
    "Events",
    "InvalidError",
    "Job",
    "LockedError",
    "Pipeline",
    "QueryError",
    "ReadOnlyError",
    "Result",
    "RunReport",
    "SchemaError",
    "StorageError",
    "UnsupportedError",
    "WideningWarning",
    "__version__",
    "broadcast",
    "datagen",
    "errors",
    "importers",
    "kernels",
    "open",
    "sql",
]

# Where each public name lives: a module is imported when one of its names is first used, so that
# `import segue` costs next to nothing. None: the name is a module itself.
_HOMES: dict[str, str | None] = {
    "Database": "database",
    "WideningWarning": "database",
    "open": "database",
    "Events": "events",
    "Job": "pipeline",
    "Pipeline": "pipeline",
    "broadcast": "pipeline",
    "RunReport": "pipeline_run",
    "Result": "result",
    "sql": "query",
    "datagen": None,
    "errors": None,
    "importers": None,
    "kernels": None,
    **dict.fromkeys(
        (
            "BudgetError",
            "Cancelled",
            "ClosedError",
            "CorruptionError",
            "Error",
            "InvalidError",
            "LockedError",
            "QueryError",
            "ReadOnlyError",
            "SchemaError",
            "StorageError",
            "UnsupportedError",
        ),
        "errors",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'segue' has no attribute {name!r}")
    home = _HOMES[name]
    if home is None:
        return importlib.import_module(f".{name}", __name__)
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
