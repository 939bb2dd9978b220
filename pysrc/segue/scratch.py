"""Scratch folders of queries, in the database's ``tmp/``: they go with their process, however it ends."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .durable import FileLock
from .errors import LockedError

__all__ = ["ScratchFolders"]

#: Begins the names of the folders.
_PREFIX = "fresh-"


class ScratchFolders:
    """Folders below the ``tmp/`` of one database.

    Each is marked as in use by a lock in it, which the kernel drops when the process dies: one that is
    not locked was left by a process that was killed. Folders are made, and those left are removed, under
    one lock of the database, so that nobody meets a folder before its lock is taken.
    """

    def __init__(self, database: Path) -> None:
        self._parent = database / "tmp"
        self._lock = FileLock(database / "locks" / "scratch.lock", "the scratch folders", timeout=10.0)

    def remove_left(self) -> None:
        """Remove what processes that were killed left; nothing happens where this user may not."""
        if any(self._parent.glob(f"{_PREFIX}*")):
            with contextlib.suppress(OSError, LockedError), self._lock:
                self._remove_left()

    def _remove_left(self) -> None:
        for folder in self._parent.glob(f"{_PREFIX}*"):
            lock = FileLock(folder / "lock", f"the scratch folder {folder}")
            with contextlib.suppress(OSError):
                if lock.try_acquire():
                    shutil.rmtree(folder, ignore_errors=True)
                    lock.release()

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Give a folder, removed afterwards; in the system's ``tmp`` if the database may not be written."""
        used: FileLock | None = None
        try:
            self._parent.mkdir(exist_ok=True)
            with self._lock:
                self._remove_left()
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._parent))
                used = FileLock(folder / "lock", f"the scratch folder {folder}")
                used.acquire()
        except (OSError, LockedError):
            used = None
            folder = Path(tempfile.mkdtemp(prefix=f"segue-{_PREFIX}"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if used is not None:
                used.release()
