"""Fixtures of the tests of import and generation.

`FakeDatabase` answers as the real one does, from memory, so that what an import stores can
be looked at without an engine; the same tests run against the real one in test_journey.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from segue.errors import InvalidError


class FakeEvents:
    def __init__(self, name: str, schema: pa.Schema, key: tuple[str, ...], time: str) -> None:
        self.name, self.schema, self.key, self.time = name, schema, key, time
        self.store_id = "store of " + name
        self.table = schema.empty_table()
        self.tokens: dict[str, tuple[pa.Table, tuple[int, int]]] = {}
        self.appends = 0
        self.fail_after: int | None = None

    def append_batch(self, data: Any, token: str | None = None) -> tuple[int, int]:
        table = pa.table(data)
        assert table.schema.equals(self.schema), f"{table.schema} is not {self.schema}"
        assert table.num_rows > 0
        for name in (*self.key, self.time):
            assert table[name].null_count == 0
        if token in self.tokens:
            known, answer = self.tokens[token]
            if not known.equals(table):
                raise InvalidError(f"token {token} was used with other content")
            return answer
        if self.fail_after is not None and self.appends >= self.fail_after:
            raise OSError("disk full")
        self.appends += 1
        first = self.table.num_rows + 1
        self.table = pa.concat_tables([self.table, table])
        answer = (first, self.table.num_rows)
        if token is not None:
            self.tokens[token] = table, answer
        return answer

    def snapshot(self) -> Any:
        return SimpleNamespace(sequence=self.table.num_rows, close=lambda: None)

    def scan(self, key: Any, since: Any, until: Any, columns: list[str]) -> pa.Table:
        times = self.table[self.time].cast(pa.int64())
        since, until = (int(np.datetime64(bound, "us").astype(np.int64)) for bound in (since, until))
        mask = pc.equal(self.table[self.key[0]], key)
        mask = pc.and_(mask, pc.and_(pc.greater_equal(times, since), pc.less(times, until)))
        return self.table.filter(mask).select(columns)


class FakeDatabase:
    def __init__(self) -> None:
        self.stores: dict[str, FakeEvents] = {}
        self.tables: dict[str, tuple[pa.Table, str]] = {}
        self.puts: list[tuple[str, int]] = []
        self.registered: list[tuple[str, str]] = []

    def events(self, name: str | None = None) -> Any:
        return list(self.stores) if name is None else self.stores[name]

    def create_events(self, name: str, schema: pa.Schema, key: Any, time: str) -> FakeEvents:
        assert name not in self.stores
        keys = (key,) if isinstance(key, str) else tuple(key)
        self.stores[name] = FakeEvents(name, schema, keys, time)
        return self.stores[name]

    @property
    def catalog(self) -> Any:
        names = {*self.tables, *self.stores, *(table for _, table in self.registered)}
        find = {name: ("table", name) for name in names}.get
        return SimpleNamespace(read=lambda: SimpleNamespace(dimensions=self.tables, find=find))

    def pipelines(self) -> dict[str, Any]:
        return {f"{source}:{table}": SimpleNamespace(source=source) for source, table in self.registered}

    def pipeline(self, source: str) -> Any:
        steps: list[Any] = []
        fake = SimpleNamespace(
            join=lambda dimension, on, columns: steps.append((dimension.name, on, columns)) or fake,
            sort_within_partitions=lambda *columns: steps.append(columns) or fake,
            write=lambda table, partition_by: SimpleNamespace(definition=(source, table)),
        )
        return fake

    def register_pipeline(self, definition: Any, store_id: str) -> None:
        assert store_id == "store of " + definition[0]
        self.registered.append(definition)

    def dimension(self, name: str) -> Any:
        table, key = self.tables[name]
        return SimpleNamespace(table=table, key=key)

    def put_dimension(self, name: str, table: pa.Table, key: str) -> None:
        assert pc.count_distinct(table[key]).as_py() == table.num_rows
        self.tables[name] = table, key
        self.puts.append((name, table.num_rows))


@pytest.fixture
def fake_db() -> FakeDatabase:
    return FakeDatabase()


def spotify_play(number: int, **changes: Any) -> dict[str, Any]:
    """One object as Spotify's export has it; `number` makes it differ from the others."""
    song = number % 7
    play = {
        "ts": f"20{10 + number % 10}-03-{1 + number % 28:02d}T{number % 24:02d}:{number // 24 % 60:02d}:07Z",
        "username": "ann",
        "platform": "Android OS 8.1.0 API 27 (Google, Pixel)",
        "ms_played": 1000 * number,
        "conn_country": ("DE", "FR", "ZZ")[number % 3],
        "ip_addr_decrypted": "203.0.113.7",
        "user_agent_decrypted": "unknown",
        "master_metadata_track_name": f"Träck {song}",
        "master_metadata_album_artist_name": f"Artist {song % 3}",
        "master_metadata_album_album_name": f"Album {song % 5}",
        "spotify_track_uri": f"spotify:track:{song:022d}",
        "episode_name": None,
        "episode_show_name": None,
        "spotify_episode_uri": None,
        "reason_start": "trackdone",
        "reason_end": ("trackdone", "fwdbtn")[number % 2],
        "shuffle": number % 2 == 0,
        "skipped": None if number % 5 == 0 else number % 3 == 0,
        "offline": False,
        "offline_timestamp": 0,
        "incognito_mode": False,
    }
    play.update(changes)
    return {name: value for name, value in play.items() if value is not ...}


@pytest.fixture
def spotify_export(tmp_path: Path) -> Path:
    """The unpacked folder of an export: 100 plays in two files; a podcast, an audiobook, a nameless one."""
    folder = tmp_path / "Spotify Extended Streaming History"
    folder.mkdir()
    no_track = {
        "master_metadata_track_name": None,
        "master_metadata_album_artist_name": None,
        "master_metadata_album_album_name": None,
        "spotify_track_uri": None,
    }
    episode = {"episode_name": "Episode 1", "spotify_episode_uri": "spotify:episode:x"}
    book = {"audiobook_title": "Moby-Dick", "audiobook_uri": "spotify:show:y"}
    first = [spotify_play(number) for number in range(60)]
    first.insert(3, spotify_play(1000, **no_track, **episode))
    second = [spotify_play(number) for number in range(60, 100)]
    second.append(spotify_play(1001, **no_track, **book))
    second.append(spotify_play(1002, **no_track))
    (folder / "Streaming_History_Audio_2010-2015_0.json").write_text(json.dumps(first, ensure_ascii=False))
    (folder / "Streaming_History_Audio_2016-2019_1.json").write_text(json.dumps(second, indent=2))
    (folder / "ReadMeFirst_ExtendedStreamingHistory.pdf").write_bytes(b"%PDF-1.4")
    return folder


@pytest.fixture
def play() -> Any:
    return spotify_play
