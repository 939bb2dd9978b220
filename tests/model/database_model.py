"""The same in a database on disk: its reader is refreshed as a whole, its tables have the usual sizes."""

from __future__ import annotations

import shutil
import tempfile
import warnings

import segue

from .event_model import Setup, TableAndModel


class DatabaseAndModel(TableAndModel):
    """A table that a database made, with ``Database.refresh`` for its reader. Power is never lost."""

    def __init__(self, setup: Setup) -> None:
        self.folder = tempfile.mkdtemp(prefix="model-")
        self.reading: segue.Database | None = None
        super().__init__(setup)

    def create(self) -> None:
        self.database = segue.open(self.folder, durability=self.setup.durability)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", segue.WideningWarning)
            self.events = self.database.create_events(
                "t", self.kind.schema, self.kind.key, "at", self.window()
            )

    def open(self) -> None:
        self.database.close()
        self.database = segue.open(self.folder, durability=self.setup.durability)
        self.events = self.database.events("t")
        self.tell_taken()

    def abandon(self) -> None:
        super().abandon()
        self.database.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        self.reopen()

    def lose_power(self, keep: str, seed: int) -> None:
        self.reopen()

    def read_elsewhere(self) -> None:
        with segue.open(self.folder, mode="r") as database:
            self.check_scan(database.events("t"), self.model.visible())
            assert database.sql("SELECT COUNT(*) FROM t").fetchall() == [(len(self.model.visible()),)]

    def open_reader(self) -> None:
        self.close_reader()
        self.reading = segue.open(self.folder, mode="r")
        self.reader = self.reading.events("t")
        self.shown = self.model.visible()

    def close_reader(self) -> None:
        if self.reading is not None:
            self.reading.close()
        self.reading = self.reader = None

    def refresh_reader(self) -> None:
        assert self.reading is not None
        assert self.reader is not None
        self.reading.refresh()
        assert self.reading.events("t") is self.reader
        with self.reader.snapshot() as snapshot:
            assert snapshot.sequence == self.model.last
