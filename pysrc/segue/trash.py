"""Removal of whole folders that the catalog does not name any more."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from .durable import storage_error, sync_directory

__all__ = ["Trash"]

#: Begins the names of the folders.
_PREFIX = "dropped-"


class Trash:
    """Folders below the ``tmp/`` of one database that are being removed."""

    def __init__(self, database: Path) -> None:
        self._parent = database / "tmp"

    def discard(self, folder: Path) -> None:
        """Remove a folder: renamed at once, then file by file; nothing happens when it is not there."""
        trash = self._parent / f"{_PREFIX}{uuid.uuid4().hex}"
        try:
            trash.parent.mkdir(exist_ok=True)
            os.rename(folder, trash)
            sync_directory(folder.parent)
        except FileNotFoundError:
            return
        except OSError as e:
            raise storage_error(e, f"cannot remove {folder}") from e
        shutil.rmtree(trash, ignore_errors=True)

    def remove_left(self) -> None:
        """Remove what a process left that died in `discard`."""
        for left in self._parent.glob(f"{_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
