"""What an import did: rows read, added, already there, skipped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FileReport", "ImportReport", "OnProgress", "Progress"]


@dataclass(frozen=True)
class Progress:
    """Where an import stands; passed to the `progress` callback a few times a second."""

    path: str
    """The file being read."""
    phase: str
    """``"checking"`` (read once before anything is stored) or ``"importing"``."""
    done: int
    """Bytes read of all files, both phases."""
    total: int
    """Bytes to read, an estimate where a file is compressed."""
    rows: int
    """Rows read in this phase."""


OnProgress = Callable[[Progress], None]


@dataclass
class FileReport:
    """One file. ``rows == added + stored_before + sum(skipped.values())``."""

    path: str
    format: str
    rows: int = 0
    """Rows (or JSON objects) in the file."""
    added: int = 0
    """Events appended."""
    stored_before: int = 0
    """Events that an earlier import, or an earlier file of this one, had already stored."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Rows that became no event, by reason."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "path": self.path,
            "format": self.format,
            "rows": self.rows,
            "added": self.added,
            "stored_before": self.stored_before,
            "skipped": dict(self.skipped),
        }


@dataclass
class ImportReport:
    """One call of :func:`segue.importers.ingest`."""

    table: str
    """The event table."""
    created: bool = False
    """Whether this import made it."""
    files: list[FileReport] = field(default_factory=list)
    dimensions: dict[str, int] = field(default_factory=dict)
    """Dimension tables that were built, with the number of rows added to each."""
    pipeline: str | None = None
    """The fact table that ``segue etl`` will now fill, if the import set up a pipeline."""
    notes: list[str] = field(default_factory=list)
    """What the reader should know: assumptions made, files left aside."""
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        """Rows read."""
        return sum(file.rows for file in self.files)

    @property
    def added(self) -> int:
        """Events appended."""
        return sum(file.added for file in self.files)

    @property
    def stored_before(self) -> int:
        """Events that were there already."""
        return sum(file.stored_before for file in self.files)

    @property
    def skipped(self) -> Counter[str]:
        """Rows that became no event, by reason."""
        return sum((file.skipped for file in self.files), Counter())

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "table": self.table,
            "created": self.created,
            "rows": self.rows,
            "added": self.added,
            "stored_before": self.stored_before,
            "skipped": dict(self.skipped),
            "dimensions": self.dimensions,
            "pipeline": self.pipeline,
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
            "files": [file.to_dict() for file in self.files],
        }

    def __str__(self) -> str:
        parts = [f"{self.added:,} events added to {self.table}"]
        if self.stored_before:
            parts.append(f"{self.stored_before:,} already there")
        parts += [f"{count:,} skipped ({reason})" for reason, count in self.skipped.most_common()]
        return f"{', '.join(parts)}; {self.rows:,} rows of {len(self.files)} files in {self.seconds:.1f} s"
