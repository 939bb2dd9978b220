"""Files that survive power loss: synced directories, atomic replacement, advisory locks.

Python code of Segue (catalog, dimensions, warehouse) changes files through this module only;
the event store has its own seam in the native core.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from .errors import LockedError, StorageError

__all__ = ["FileLock", "replace_file", "storage_error", "sync_directory", "sync_file"]


def storage_error(error: OSError, what: str) -> StorageError:
    """Give an operating-system error as Segue's own, with what was being done."""
    reason = error.strerror or str(error)
    return StorageError(f"{what}: {reason}", str(error.filename or ""), error.errno or 0)


def sync_file(path: str | os.PathLike[str]) -> None:
    """Make the bytes of a file durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Make the entries of a directory (creations, renames, removals) durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file so that after any crash it holds the old bytes or the new ones.

    Write beside it, sync, rename, sync the directory. The caller holds a lock that keeps
    other writers of `path` out.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


class FileLock:
    """An exclusive lock between processes, and between handles of one process (``flock``).

    The kernel drops it when its holder dies, however it dies. The lock file names the holder
    for messages; it is never removed, since a removed lock file can be held twice.

    Parameters
    ----------
    path
        The lock file; created, with its folder, on first use.
    what
        What is locked, for messages: ``"warehouse table 'fact_plays'"``.
    timeout
        Seconds to wait for another holder.
    """

    def __init__(self, path: Path, what: str, timeout: float = 0.0) -> None:
        self._path = path
        self._what = what
        self._timeout = timeout
        self._fd = -1

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd >= 0

    def acquire(self) -> None:
        """Take the lock, waiting up to the timeout; `LockedError` names the holder."""
        if self.held:
            raise LockedError(f"{self._what} is already locked by this very handle")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as e:
            raise storage_error(e, f"cannot lock {self._what}") from e
        deadline = time.monotonic() + self._timeout
        pause = 0.001
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        holder = os.pread(fd, 200, 0).decode(errors="replace").strip()
                        raise LockedError(
                            f"{self._what} is in use by {holder or 'another process'} ({self._path})"
                        ) from None
                    time.sleep(pause)
                    pause = min(pause * 2, 0.05)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        except OSError as e:
            os.close(fd)
            if isinstance(e, LockedError):
                raise
            raise storage_error(e, f"cannot lock {self._what}") from e
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        try:
            self.acquire()
        except LockedError:
            return False
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        if not self.held:
            self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
