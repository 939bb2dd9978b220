"""The catalog: what a database holds, in one small file that is replaced whole.

It lists event tables, dimensions, fact tables and pipelines. Their data is elsewhere, and each
has its own format and its own recovery; the catalog only names them. The format is described
in ``docs/formats/catalog.md``.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .durable import FileLock, replace_file, storage_error
from .errors import CorruptionError, InvalidError, UnsupportedError

__all__ = [
    "Catalog",
    "CatalogState",
    "DimensionEntry",
    "EventsEntry",
    "FactEntry",
    "PipelineEntry",
    "check_name",
]

#: Version of the file format that this code writes; it reads every version up to it.
FORMAT = 1

#: Seconds to wait for another process that is changing the catalog.
LOCK_TIMEOUT = 10.0

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_NAME = 128

T = TypeVar("T")


def check_name(name: Any) -> str:
    """Give a table name back if it may be one: letters, digits and ``_``, as SQL takes unquoted."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise InvalidError(
            f"{name!r} cannot name a table: use ASCII letters, digits and underscores, no digit first, "
            f"1 to {_LONGEST_NAME} characters"
        )
    return name


@dataclass(frozen=True)
class EventsEntry:
    """An event table; its schema stands in its own store."""

    store_id: str
    key: tuple[str, ...]
    time: str


@dataclass(frozen=True)
class DimensionEntry:
    """A dimension: the file in ``warehouse/<name>/`` that holds it now."""

    key: str
    file: str
    rows: int
    generation: int


@dataclass(frozen=True)
class FactEntry:
    """A fact table, a Delta table in ``warehouse/<name>/`` once a run has published."""

    partition_by: tuple[str, ...]


@dataclass(frozen=True)
class PipelineEntry:
    """A pipeline as it was last run; `definition` is `PipelineDefinition.to_json`'s."""

    source: str
    table: str
    store_id: str
    definition: dict[str, Any]


@dataclass(frozen=True)
class CatalogState:
    """The catalog at one moment. Never changed in place: `Catalog.update` makes the next one."""

    database_id: str
    events: dict[str, EventsEntry] = field(default_factory=dict)
    dimensions: dict[str, DimensionEntry] = field(default_factory=dict)
    facts: dict[str, FactEntry] = field(default_factory=dict)
    pipelines: dict[str, PipelineEntry] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Every table, sorted."""
        return sorted([*self.events, *self.dimensions, *self.facts])

    def find(self, name: str) -> tuple[str, str] | None:
        """Kind (``"events"``, ``"dimension"``, ``"fact"``) and own spelling of a table.

        Names are compared as SQL does: without case.
        """
        folded = name.lower()
        for kind, tables in (("events", self.events), ("dimension", self.dimensions), ("fact", self.facts)):
            if name in tables:
                return kind, name
            for candidate in tables:
                if candidate.lower() == folded:
                    return kind, candidate
        return None

    def require_free(self, name: str) -> None:
        """Raise `InvalidError` if some table has this name."""
        found = self.find(name)
        if found is not None:
            kind, own = found
            table = {"events": "an event table", "dimension": "a dimension", "fact": "a fact table"}[kind]
            raise InvalidError(f"{own!r} is already the name of {table}; names are unique in a database")

    def require(self, name: Any, kind: str, database: Path) -> str:
        """Return the own spelling of a table that must be of a kind; the database is named in messages."""
        labels = {"events": "event table", "dimension": "dimension", "fact": "fact table"}
        found = self.find(name) if isinstance(name, str) else None
        if found is None:
            tables: list[str] = {
                "events": [*self.events],
                "dimension": [*self.dimensions],
                "fact": [*self.facts],
            }[kind]
            have = f"there are {', '.join(sorted(tables))}" if tables else "there is none"
            raise InvalidError(f"no {labels[kind]} is named {name!r} in {str(database)!r}; {have}")
        if found[0] != kind:
            raise InvalidError(
                f"{found[1]!r} is no {labels[kind]}: it is a table of another kind, {labels[found[0]]}"
            )
        return found[1]

    def with_changes(self, **changes: Any) -> CatalogState:
        """Return a copy with whole sections replaced."""
        sections: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return CatalogState(**(sections | changes))


class Catalog:
    """The catalog file of one database.

    Safe to use from several threads, handles and processes: a change is made under a lock file,
    on the newest content, and the file is replaced atomically and durably.

    Parameters
    ----------
    root
        The database's directory.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / "catalog"
        self._lock_path = root / "locks" / "catalog.lock"
        self._mutex = threading.RLock()
        self._signature: tuple[int, int, int] | None = None
        self._state: CatalogState | None = None

    def exists(self) -> bool:
        """Whether the file is there."""
        return self.path.exists()

    def create(self) -> None:
        """Write an empty catalog unless there is one."""
        with self._mutex, self._lock():
            if not self.exists():
                self._write(CatalogState(database_id=uuid.uuid4().hex))

    def read(self) -> CatalogState:
        """Return the newest state; reads the file only when it was replaced since."""
        with self._mutex:
            try:
                status = self.path.stat()
                signature = (status.st_ino, status.st_mtime_ns, status.st_size)
                if self._state is None or signature != self._signature:
                    self._state = decode(self.path.read_bytes(), str(self.path))
                    self._signature = signature
            except FileNotFoundError:
                raise CorruptionError(
                    f"the catalog {self.path} is gone; restore it from a backup", str(self.path)
                ) from None
            except CorruptionError:
                raise
            except OSError as e:
                raise storage_error(e, "cannot read the catalog") from e
            return self._state

    def update(self, change: Callable[[CatalogState], tuple[CatalogState, T]]) -> T:
        """Replace the state by what `change` makes of the newest one, and return its second value.

        `change` runs under the lock and may raise to leave the catalog as it is.
        """
        with self._mutex, self._lock():
            before = self.read()
            after, value = change(before)
            if after != before:
                self._write(after)
            return value

    def _lock(self) -> FileLock:
        return FileLock(self._lock_path, f"the catalog {self.path}", LOCK_TIMEOUT)

    def _write(self, state: CatalogState) -> None:
        try:
            replace_file(self.path, encode(state))
        except OSError as e:
            raise storage_error(e, f"cannot write the catalog {self.path}") from e
        self._state = None


def _canonical(body: object) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def encode(state: CatalogState) -> bytes:
    """Return the file that holds `state`."""
    body = asdict(state)
    # Read back, so that tuples are lists and the checksum is over what a reader will see.
    body = json.loads(_canonical(body))
    document = {"format": FORMAT, "crc32": f"{zlib.crc32(_canonical(body)):08x}", "body": body}
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode()


def decode(content: bytes, path: str = "") -> CatalogState:
    """Return the state in a catalog file; `CorruptionError` if it is damaged."""

    def damaged(reason: str, offset: int = 0) -> CorruptionError:
        return CorruptionError(
            f"the catalog {path} is damaged ({reason}); restore it from a backup", path, offset
        )

    try:
        document = json.loads(content)
    except json.JSONDecodeError as e:
        raise damaged("it is no JSON", e.pos) from None
    except UnicodeDecodeError as e:
        raise damaged("it is no text", e.start) from None
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise damaged("it has no format version")
    if document["format"] > FORMAT:
        raise UnsupportedError(
            f"the catalog {path} has format {document['format']}, written by a newer Segue; "
            f"this one reads formats up to {FORMAT}: upgrade segue"
        )
    body = document.get("body")
    if document["format"] < 1 or not isinstance(body, dict):
        raise damaged("it has no content")
    if document.get("crc32") != f"{zlib.crc32(_canonical(body)):08x}":
        raise damaged("its checksum does not match")
    try:
        return CatalogState(
            database_id=body["database_id"],
            events={
                name: EventsEntry(store_id=e["store_id"], key=tuple(e["key"]), time=e["time"])
                for name, e in body["events"].items()
            },
            dimensions={name: DimensionEntry(**e) for name, e in body["dimensions"].items()},
            facts={
                name: FactEntry(partition_by=tuple(e["partition_by"])) for name, e in body["facts"].items()
            },
            pipelines={name: PipelineEntry(**e) for name, e in body["pipelines"].items()},
        )
    except (KeyError, TypeError, AttributeError) as e:
        raise damaged(f"a field is missing or has another type: {e}") from None
