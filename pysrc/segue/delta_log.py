"""The part of a Delta table's log that must survive power loss, which the library leaves to us.

The library writes a log entry completely before it gives it its name, but syncs nothing: after
power loss the newest entry can be empty or cut off. An empty one the library drops without a
word, a cut one makes the table unreadable. Neither was ever reported as published, since
`sync_entry` comes before that, so taking it away loses nothing: its events come with the next run.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import time
from pathlib import Path

from .durable import storage_error, sync_directory, sync_file
from .errors import CorruptionError

__all__ = [
    "LOG_FOLDER",
    "PRIVATE_FOLDER",
    "check_entries",
    "check_no_empty_entry",
    "entry_path",
    "newest_entry",
    "repair",
    "sync_entry",
    "torn_entry",
]

LOG_FOLDER = "_delta_log"

#: Our own files in a table's folder; the underscore hides them from readers of the directory.
PRIVATE_FOLDER = "_segue"

_ENTRY = re.compile(r"([0-9]{20})\.json")
_log = logging.getLogger("segue.warehouse")


def entry_path(table: Path, version: int) -> Path:
    """Where the log entry of a version is."""
    return table / LOG_FOLDER / f"{version:020d}.json"


def _versions(table: Path) -> list[int]:
    try:
        names = os.listdir(table / LOG_FOLDER)
    except FileNotFoundError:
        return []
    except OSError as e:
        raise storage_error(e, f"cannot list the log of {table}") from e
    return sorted(int(match[1]) for match in map(_ENTRY.fullmatch, names) if match)


def newest_entry(table: Path) -> int | None:
    """Return the highest version that has a log entry, None if there is none."""
    versions = _versions(table)
    return versions[-1] if versions else None


def _damage(path: Path) -> int | None:
    """Offset of the first line that is no action, None if the entry is whole."""
    content = path.read_bytes()
    offset = 0
    actions = 0
    for line in content.split(b"\n"):
        if line.strip():
            try:
                action = json.loads(line)
            except ValueError:
                return offset
            if not isinstance(action, dict):
                return offset
            actions += 1
        offset += len(line) + 1
    return None if actions else 0


def torn_entry(table: Path) -> Path | None:
    """Return the newest log entry if it is empty or cut off."""
    newest = newest_entry(table)
    if newest is None:
        return None
    path = entry_path(table, newest)
    try:
        return path if _damage(path) is not None else None
    except FileNotFoundError:
        return None
    except OSError as e:
        raise storage_error(e, f"cannot read {path}") from e


def repair(table: Path) -> Path | None:
    """Put a torn newest entry aside, and say so in the log; gives its new path.

    The caller holds the table's lock, so no run is writing it. Only the newest is ever taken.
    """
    torn = torn_entry(table)
    if torn is None:
        return None
    aside = table / PRIVATE_FOLDER / f"torn-{torn.stem}-{time.time_ns()}"
    try:
        aside.parent.mkdir(exist_ok=True)
        os.rename(torn, aside)
        sync_directory(aside.parent)
        sync_directory(torn.parent)
    except OSError as e:
        raise storage_error(e, f"cannot put aside the torn log entry {torn}") from e
    _log.warning(
        "the newest log entry %s was cut off, as by power loss; it was never reported as published "
        "and is kept as %s. The next run takes its events again",
        torn,
        aside,
    )
    return aside


def check_no_empty_entry(table: Path) -> None:
    """Raise `CorruptionError` if some entry is empty: the library would read on as if it were not there."""
    try:
        with os.scandir(table / LOG_FOLDER) as entries:
            for entry in entries:
                if _ENTRY.fullmatch(entry.name) and entry.stat().st_size == 0:
                    raise CorruptionError(f"the log entry {entry.path} is empty", entry.path)
    except FileNotFoundError:
        return
    except CorruptionError:
        raise
    except OSError as e:
        raise storage_error(e, f"cannot list the log of {table}") from e


def check_entries(table: Path) -> None:
    """Raise `CorruptionError` at the first damaged or missing log entry; for a table that does not load."""
    versions = _versions(table)
    for previous, version in itertools.pairwise(versions):
        if version != previous + 1:
            missing = entry_path(table, previous + 1)
            raise CorruptionError(f"the log entry {missing} is gone; restore it from a backup", str(missing))
    for version in versions:
        path = entry_path(table, version)
        offset = _damage(path)
        if offset is not None:
            raise CorruptionError(f"the log entry {path} is damaged at byte {offset}", str(path), offset)


def sync_entry(table: Path, version: int) -> None:
    """Make a commit durable: its log entry, and the names that lead to it."""
    path = entry_path(table, version)
    try:
        sync_file(path)
        for folder in (path.parent, table, table.parent):
            sync_directory(folder)
    except OSError as e:
        raise storage_error(
            e,
            f"version {version} of {table.name!r} is published, but may not survive power loss",
        ) from e
