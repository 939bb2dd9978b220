"""Imports Spotify's "Extended streaming history".

The export is a zip of JSON arrays, ``Streaming_History_Audio_2019-2021_3.json`` and the
like (``endsong_3.json`` in older ones), one object a play. A play is known by its user, its
end (`ts`, to the second), its track and its length; one that is stored already, from the
same file or from an older export that covers the same years, is not stored again.
"""

from __future__ import annotations

import re
import time as clock
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from segue.errors import InvalidError, SchemaError
from segue.importers.dimensions import Numbering
from segue.importers.report import FileReport, ImportReport, OnProgress
from segue.importers.tabular import Meter
from segue.importers.timestamps import TimeParser

__all__ = ["LISTENS_SCHEMA", "default_pipeline", "import_history", "recognises"]

_NAME = re.compile(
    r"(Streaming_History_(Audio|Video)_.*|endsong(_\d+)?|endvideo(_\d+)?)\.json", re.IGNORECASE
)
_SHORT_NAME = re.compile(r"StreamingHistory(_music|_podcast)?_?\d*\.json", re.IGNORECASE)
CHUNK_ROWS = 1 << 15
DEFAULT_USER = "me"
FACT_TABLE = "fact_plays"
_INT32 = 1 << 31


def _dictionary() -> pa.DataType:
    return pa.dictionary(pa.int32(), pa.string())


LISTENS_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("song_id", pa.int32(), nullable=False),
        pa.field("timestamp", pa.timestamp("us", "UTC"), nullable=False),
        ("date", pa.date32()),
        ("ms_played", pa.int32()),
        ("country", _dictionary()),
        ("platform", _dictionary()),
        ("reason_start", _dictionary()),
        ("reason_end", _dictionary()),
        ("shuffle", pa.bool_()),
        ("skipped", pa.bool_()),
        ("offline", pa.bool_()),
        ("incognito", pa.bool_()),
    ]
)
"""A play. `timestamp` is its end, `date` the day of that in UTC; `song_id` leads to `dim_songs`."""

# What is read of each object, in the order of the tuples that rows become: texts, the length, flags.
_TEXTS = (
    "ts",
    "master_metadata_track_name",
    "master_metadata_album_artist_name",
    "master_metadata_album_album_name",
    "spotify_track_uri",
    "username",
    "conn_country",
    "platform",
    "reason_start",
    "reason_end",
)
_FLAGS = ("shuffle", "skipped", "offline", "incognito_mode")
_FIELDS = (*_TEXTS, "ms_played", *_FLAGS)
_TEXT_TYPES = frozenset({str, type(None)})


@dataclass(frozen=True)
class _Part:
    """One JSON file, on its own or inside a zip."""

    path: Path
    member: str | None = None

    @property
    def label(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def size(self) -> int:
        if self.member is None:
            return self.path.stat().st_size
        with zipfile.ZipFile(self.path) as archive:
            return archive.getinfo(self.member).file_size

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        if self.member is None:
            with open(self.path, "rb") as file:
                yield file
        else:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                yield file


def _is_history(name: str) -> bool:
    return _NAME.fullmatch(PurePosixPath(name).name) is not None


def recognises(path: Path) -> bool:
    """Whether a path is a Spotify history: a zip, a folder or a file of one."""
    if path.is_dir():
        return any(_is_history(file.name) for file in path.rglob("*.json"))
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(_is_history(name) or _short(name) for name in archive.namelist())
    if path.suffix.lower() != ".json":
        return False
    if _is_history(path.name) or _short(path.name):
        return True
    # Under another name: by its first object.
    try:
        with open(path, "rb") as file:
            first = next(_objects(file, lambda _: None), None)
    except InvalidError:
        return False
    return isinstance(first, dict) and "ts" in first and ("spotify_track_uri" in first or _TEXTS[1] in first)


def _short(name: str) -> bool:
    return _SHORT_NAME.fullmatch(PurePosixPath(name).name) is not None


def _parts(path: Path, notes: list[str]) -> list[_Part]:
    if path.is_dir():
        inside = sorted(path.rglob("*.json"))
        parts = [_Part(file) for file in inside if _is_history(file.name)]
        others = [file.name for file in inside if not _is_history(file.name)]
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(item.flag_bits & 1 for item in archive.infolist()):
                raise InvalidError(f"{path} is encrypted: unpack it and import the folder")
            names = sorted(name for name in archive.namelist() if name.lower().endswith(".json"))
        parts = [_Part(path, name) for name in names if _is_history(name)]
        others = [PurePosixPath(name).name for name in names if not _is_history(name)]
    else:
        parts, others = ([], [path.name]) if _short(path.name) else ([_Part(path)], [])
    if not parts:
        raise InvalidError(
            f"{path} holds Spotify's short account data, which names no tracks: "
            'request the "Extended streaming history" at https://www.spotify.com/account/privacy/'
        )
    if others:
        notes.append(f"left aside in {path.name}: {', '.join(others[:5])}{' ...' if len(others) > 5 else ''}")
    return parts


class _Counted:
    """A binary file that tells how far it was read, without its byte order mark."""

    def __init__(self, file: IO[bytes], moved: Callable[[int], None]) -> None:
        self._file = file
        self._moved = moved
        self._read = 0
        self._head = file.read(4096).removeprefix(b"\xef\xbb\xbf")

    @property
    def first(self) -> bytes:
        return self._head.lstrip()[:1]

    def read(self, size: int = -1) -> bytes:
        if self._head and size != 0:
            data, self._head = self._head, b""
        else:
            data = self._file.read(size)
        self._read += len(data)
        self._moved(self._read)
        return data


def _objects(file: IO[bytes], moved: Callable[[int], None]) -> Iterator[Any]:
    """Return the elements of a JSON array, one at a time.

    Raises
    ------
    InvalidError
        With the number of the first row that could not be read, and the byte about which it stands.
    """
    import ijson  # type: ignore[import-untyped]

    position = 0

    def remember(where: int) -> None:
        nonlocal position
        position = where
        moved(where)

    row = 0
    try:
        counted = _Counted(file, remember)
        if counted.first != b"[":
            raise InvalidError("is not a JSON array of plays")
        for item in ijson.items(counted, "item", use_float=True, buf_size=1 << 16):
            row += 1
            yield item
    except ijson.JSONError as error:
        reason = str(error).split("\n")[0]
        raise InvalidError(f"is malformed in row {row + 1}, before byte {position}: {reason}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InvalidError(f"is damaged in row {row + 1}, before byte {position}: {error}") from error


def _reason_to_skip(item: dict[str, Any], row: tuple[Any, ...]) -> str | None:
    """Why an object is no play of a track, or None. `row` holds its _FIELDS."""
    time, track, artist, _, uri = row[:5]
    played = row[len(_TEXTS)]
    if not _TEXT_TYPES.issuperset(map(type, row[: len(_TEXTS)])):
        wrong = next(name for name, value in zip(_TEXTS, row, strict=False) if type(value) not in _TEXT_TYPES)
        return f"malformed row ({wrong} is not text)"
    if not time:
        return "no time (ts)"
    if played is not None and (type(played) is not int or not -_INT32 <= played < _INT32):
        return "malformed row (ms_played is not a number of milliseconds)"
    if track and artist:
        return None
    if not uri:
        if item.get("spotify_episode_uri") or item.get("episode_name"):
            return "podcast episode"
        if item.get("audiobook_uri") or item.get("audiobook_title"):
            return "audiobook"
    return "no track (not named in the export)"


def _flag(value: Any) -> bool | None:
    # Exports of some years hold 0 and 1, or nothing.
    return None if value is None else bool(value)


@dataclass
class _Importer:
    """State of one import: the numbering of songs and artists, and the parser of times."""

    db: Any
    events: Any
    user: str
    songs: Numbering
    artists: Numbering
    parser: TimeParser = field(default_factory=lambda: TimeParser("ts"))
    unnamed: int = 0

    def store(self, rows: list[tuple[Any, ...]], entry: FileReport) -> None:
        """Store the plays of a chunk that are new."""
        columns: dict[str, Sequence[Any]] = dict(zip(_FIELDS, zip(*rows, strict=True), strict=True))
        times = self.parser.parse(pa.array(columns["ts"], pa.string()))
        if times.null_count:
            entry.skipped["malformed row (ts is not a time)"] += times.null_count
            keep = [i for i, valid in enumerate(times.is_valid().to_pylist()) if valid]
            if not keep:
                return
            columns = {name: [values[i] for i in keep] for name, values in columns.items()}
            times = times.drop_null()

        users = [name or self.user for name in columns["username"]]
        self.unnamed += sum(1 for name in columns["username"] if not name)
        artists = self.artists.number([(artist,) for artist in columns["master_metadata_album_artist_name"]])
        tracks = columns["master_metadata_track_name"]
        songs = self.songs.number(
            [
                # Without a URI (local files) a song is what its three names say.
                (uri,) if uri else (None, track, album, artist)
                for uri, track, album, artist in zip(
                    columns["spotify_track_uri"],
                    tracks,
                    columns["master_metadata_album_album_name"],
                    artists.tolist(),
                    strict=True,
                )
            ],
            rows=list(
                zip(
                    tracks,
                    columns["master_metadata_album_album_name"],
                    artists.tolist(),
                    columns["spotify_track_uri"],
                    strict=True,
                )
            ),
        )
        played = pa.array(columns["ms_played"], pa.int32())
        new = self._new(users, times, songs, pc.fill_null(played, -1).to_numpy(zero_copy_only=False))
        if not new.all():
            entry.stored_before += int(len(new) - new.sum())
        if not new.any():
            return
        flags = {name: pa.array([_flag(v) for v in columns[name]], pa.bool_()) for name in _FLAGS}
        texts = {name: pa.array(columns[name], pa.string()).dictionary_encode() for name in _TEXTS[6:]}
        batch = pa.RecordBatch.from_arrays(
            [
                pa.array(users, pa.string()),
                pa.array(songs),
                times,
                pc.cast(times, pa.date32()),
                played,
                *texts.values(),
                *flags.values(),
            ],
            schema=LISTENS_SCHEMA,
        ).filter(pa.array(new))
        # First what events refer to: a crash in between leaves a song without plays, not the reverse.
        self.artists.save(self.db)
        self.songs.save(self.db)
        self.events.append_batch(batch)
        entry.added += batch.num_rows

    def _new(self, users: list[str], times: pa.Array, songs: Any, played: Any) -> Any:
        """Which rows are not stored yet, nor twice in this chunk."""
        plays = np.empty(len(users), dtype=[("time", "i8"), ("song", "i4"), ("played", "i4")])
        plays["time"] = times.cast(pa.int64()).to_numpy()
        plays["song"] = songs
        plays["played"] = played
        new = np.zeros(len(users), dtype=bool)
        names = np.array(users, dtype=object)
        for user in dict.fromkeys(users):
            places = np.flatnonzero(names == user)
            mine = plays[places]
            _, first = np.unique(mine, return_index=True)
            fresh = np.zeros(len(mine), dtype=bool)
            fresh[first] = True
            stored = self._stored(user, int(mine["time"].min()), int(mine["time"].max()))
            fresh &= ~np.isin(mine, stored)
            new[places] = fresh
        return new

    def _stored(self, user: str, first: int, last: int) -> Any:
        """Return the user's plays between two moments, inclusive, that are in the table."""
        scan = self.events.scan(
            key=user,
            since=np.datetime64(first, "us"),
            until=np.datetime64(last + 1, "us"),
            columns=["timestamp", "song_id", "ms_played"],
        )
        table = pa.table(scan)
        plays = np.empty(table.num_rows, dtype=[("time", "i8"), ("song", "i4"), ("played", "i4")])
        plays["time"] = table["timestamp"].cast(pa.int64()).to_numpy()
        plays["song"] = table["song_id"].to_numpy()
        plays["played"] = pc.fill_null(table["ms_played"], -1).to_numpy()
        return plays


def import_history(
    db: Any, paths: Sequence[Path], table: str, *, user: str | None, progress: OnProgress | None
) -> ImportReport:
    """Import a streaming history; see :func:`segue.importers.ingest`."""
    started = clock.perf_counter()
    report = ImportReport(table=table)
    parts = [part for path in paths for part in _parts(path, report.notes)]
    meter = Meter(progress, sum(part.size for part in parts))
    if table in db.events():
        events = db.events(table)
        if events.schema.names != LISTENS_SCHEMA.names:
            raise SchemaError(
                f"table {table!r} holds other columns ({', '.join(events.schema.names)}): "
                "import the history into another one, --table NAME"
            )
    else:
        events = db.create_events(table, schema=LISTENS_SCHEMA, key="user_id", time="timestamp")
        report.created = True

    artists = Numbering.load(db, "dim_artists", "artist_id", pa.schema([("artist", pa.string())]))
    songs = Numbering.load(
        db,
        "dim_songs",
        "song_id",
        pa.schema(
            [
                ("track", pa.string()),
                ("album", pa.string()),
                ("artist_id", pa.int32()),
                ("spotify_uri", pa.string()),
            ]
        ),
        identity=lambda track, album, artist, uri: (uri,) if uri else (None, track, album, artist),
    )
    importer = _Importer(db, events, user or DEFAULT_USER, songs, artists)
    before = len(songs), len(artists)
    for part in parts:
        entry = FileReport(part.label, "spotify")
        report.files.append(entry)
        _import_part(importer, part, entry, meter)
        meter.finish(part.size)
    report.pipeline = _register(db, events, report.notes)
    report.dimensions = {"dim_songs": len(songs) - before[0], "dim_artists": len(artists) - before[1]}
    if importer.unnamed and user is None:
        report.notes.append(
            f"{importer.unnamed:,} plays name no user: stored as {DEFAULT_USER!r} (choose with --user)"
        )
    report.seconds = clock.perf_counter() - started
    return report


def default_pipeline(db: Any, table: str = "listens") -> Any:
    """Return the nightly job of a streaming history: ``fact_plays``, one folder a month.

    Some thirty plays a day would make a file of a few kilobytes for each of ten years' days; a
    month is a hundred and twenty files in all. `date` is a column, so queries may filter by it.
    """
    from segue.pipeline import broadcast

    return (
        db.pipeline(table)
        .join(broadcast("dim_songs"), on="song_id", columns=["artist_id"])
        .sort_within_partitions("timestamp")
        .write(FACT_TABLE, partition_by="month")
    )


def _register(db: Any, events: Any, notes: list[str]) -> str | None:
    """Make the default pipeline known to ``segue etl``, unless something has its name."""
    state = db.catalog.read()
    if any(definition.source == events.name for definition in db.pipelines().values()):
        return None
    if state.find(FACT_TABLE) is not None:
        notes.append(f"{FACT_TABLE} exists already: define a pipeline from {events.name} into another table")
        return None
    if not {"dim_songs", "dim_artists"} <= set(state.dimensions):
        return None  # nothing was imported
    db.register_pipeline(default_pipeline(db, events.name).definition, events.store_id)
    return FACT_TABLE


def _import_part(importer: _Importer, part: _Part, entry: FileReport, meter: Meter) -> None:
    position = 0

    def moved(where: int) -> None:
        nonlocal position
        position = where

    rows: list[tuple[Any, ...]] = []
    skipped: Counter[str] = entry.skipped
    try:
        with part.open() as file:
            for item in _objects(file, moved):
                entry.rows += 1
                if isinstance(item, dict):
                    row = tuple(map(item.get, _FIELDS))
                    reason = _reason_to_skip(item, row)
                else:
                    reason = "malformed row (not an object)"
                if reason is not None:
                    skipped[reason] += 1
                else:
                    rows.append(row)
                    if len(rows) == CHUNK_ROWS:
                        importer.store(rows, entry)
                        rows = []
                if entry.rows & 0x3FF == 0:
                    meter.update(part.path, "importing", position, entry.rows)
    except InvalidError as error:
        stored = f" ({entry.added:,} plays before it are stored; importing again does not repeat them)"
        raise InvalidError(f"{part.label} {error}{stored if entry.added else ''}") from error
    if rows:
        importer.store(rows, entry)
