"""Segue's exceptions.

Every error raised by Segue is a :class:`Error`, and also the built-in exception that
fits, so that callers who know nothing of Segue still catch the right thing.

Examples
--------
>>> import segue
>>> issubclass(segue.CorruptionError, OSError)
True
>>> issubclass(segue.SchemaError, ValueError)
True
"""

from __future__ import annotations

__all__ = [
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
]


class Error(Exception):
    """Base of everything that Segue raises on purpose."""


class InvalidError(Error, ValueError):
    """An argument is wrong; nothing was changed."""


class SchemaError(InvalidError):
    """A column is missing, unknown or of a type that does not fit."""

    def __init__(self, message: str, column: str = "") -> None:
        super().__init__(message)
        self.column = column
        """Name of the column at fault, or ``""`` when it is the whole schema."""


class StorageError(Error, OSError):
    """The operating system refused a file operation."""

    def __init__(self, message: str, path: str = "", errno: int = 0) -> None:
        # OSError formats itself as "[Errno n] strerror: 'filename'" from these three.
        super().__init__(errno, message, path)
        self.path = path
        """The file or folder."""


class CorruptionError(Error, OSError):
    """Bytes on disk are not the bytes that were written."""

    def __init__(self, message: str, path: str = "", offset: int = 0) -> None:
        super().__init__(message)
        self.path = path
        """The damaged file."""
        self.offset = offset
        """Byte offset of the damaged part in that file."""


class ClosedError(Error, ValueError):
    """The object was closed before the call (as with a closed file)."""


class LockedError(Error, OSError):
    """Another process, or another handle of this one, has the store open for writing."""


class ReadOnlyError(Error, OSError):
    """The store was opened with ``mode="r"``, or stopped taking writes after an I/O error."""


class QueryError(Error, ValueError):
    """A SQL statement does not parse, bind or run."""


class BudgetError(Error, MemoryError):
    """A memory budget is too small, or an allocation failed."""


class UnsupportedError(Error, NotImplementedError):
    """Valid input that this kernel does not take; the message names another way."""


class Cancelled(Error):  # noqa: N818 - named in the public API
    """The work was cancelled; what was committed before stays."""
