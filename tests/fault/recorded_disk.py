"""A record of what a process does to a directory, from which any power loss can be played back.

The event store writes through its own seam, and the in-memory file system behind that knows what was
synced. The warehouse does not: pyarrow writes its Parquet files and deltalake its log, each with calls
of its own. But both write real files, and what makes them durable goes through Python's `os`. So this
looks at the directory around every such call: what the files hold then is what the system has, and what
was synced by then is what power loss leaves.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Folder = dict[str, int]
"""Names, and the inode of each."""


@dataclass
class Image:
    """Folders and files by their inodes."""

    folders: dict[int, Folder] = field(default_factory=dict)
    files: dict[int, bytes] = field(default_factory=dict)

    def copy(self) -> Image:
        return Image(dict(self.folders), dict(self.files))


@dataclass
class Moment:
    """What the system had, and what of it was durable, just after an operation."""

    after: str
    current: Image
    durable: Image
    note: Any
    """Whatever the recorder's `note` gave."""


class RecordedDisk:
    """Watches a directory.

    Parameters
    ----------
    root
        The directory; durable as it is when recording begins, its own name included.
    note
        Called at each moment, for what the test wants to know of it.
    """

    def __init__(self, root: Path, note: Callable[[], Any]) -> None:
        self.root = root
        self.moments: list[Moment] = []
        self._note = note
        self._root_inode = root.stat().st_ino
        self._pins: dict[int, int] = {}  # an open file's inode is not used again for another
        self._durable = self._look()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record every operation of the block on files below the directory, whichever thread does it."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("replace", "rename", "unlink", "mkdir", "rmdir", "fsync"):
                patch.setattr(os, name, self._watched(name, getattr(os, name)))
            try:
                yield
            finally:
                for fd in self._pins.values():
                    os.close(fd)
                self._pins.clear()

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._moment(f"before {name} {args[0]}")
            result = call(*args, **kwargs)
            if name == "fsync":
                self._synced(args[0])
            self._moment(f"{name} {args[0]}")
            return result

        return watched

    def _synced(self, fd: int) -> None:
        inode = os.fstat(fd).st_ino
        now = self._look()
        if inode in now.folders:
            self._durable.folders[inode] = now.folders[inode]
        elif inode in now.files:
            self._durable.files[inode] = now.files[inode]

    def _moment(self, after: str) -> None:
        now = self._look()
        last = self.moments[-1] if self.moments else None
        note = self._note()
        if last is None or (last.current, last.durable) != (now, self._durable):
            self.moments.append(Moment(after, now, self._durable.copy(), note))

    def _look(self) -> Image:
        image = Image()
        pending = [(self.root, self._root_inode)]
        while pending:
            path, inode = pending.pop()
            folder = image.folders[inode] = {}
            for name in os.listdir(path):
                try:
                    fd = os.open(path / name, os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:  # another thread removed it
                    continue
                status = os.fstat(fd)
                folder[name] = status.st_ino
                if stat.S_ISDIR(status.st_mode):
                    pending.append((path / name, status.st_ino))
                else:
                    image.files[status.st_ino] = os.pread(fd, status.st_size, 0)
                if status.st_ino in self._pins:
                    os.close(fd)
                else:
                    self._pins[status.st_ino] = fd
        return image

    def play_back(self, moment: Moment, keep: str, seed: int, to: Path) -> None:
        """Make at `to` what is left if the power goes at a moment.

        `keep` is ``"none"`` of what was not synced, ``"all"`` of it, or ``"random"``: each name that was
        made, changed or removed in a folder is as it was synced or as it is, each file holds what was
        synced, or what was written up to some byte, or zeros from there on.
        """
        chance = random.Random(seed)

        def folder(inode: int) -> Folder:
            current = moment.current.folders.get(inode, {})
            durable = moment.durable.folders.get(inode, {})
            if keep != "random":
                return current if keep == "all" else durable
            chosen: Folder = {}
            for name in sorted(current.keys() | durable.keys()):
                found = chance.choice([current, durable]).get(name)
                if found is not None:
                    chosen[name] = found
            return chosen

        def content(inode: int) -> bytes:
            durable = moment.durable.files.get(inode, b"")
            # A file that has no name any more did not change.
            current = moment.current.files.get(inode, durable)
            if keep != "random" or current == durable:
                return current if keep == "all" else durable
            cut = chance.randint(0, len(current))
            return chance.choice([current, durable, current[:cut], current[:cut] + bytes(len(current) - cut)])

        def make(inode: int, path: Path) -> None:
            if inode not in moment.current.folders and inode not in moment.durable.folders:
                path.write_bytes(content(inode))
                return
            path.mkdir()
            for name, child in folder(inode).items():
                make(child, path / name)

        make(self._root_inode, to)
