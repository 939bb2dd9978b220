from __future__ import annotations

import datetime as dt
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segue.errors import InvalidError, SchemaError
from segue.importers import ingest, spotify

Play = Callable[..., dict[str, Any]]
SKIPPED = {"podcast episode": 1, "audiobook": 1, "no track (not named in the export)": 1}


def plays_of(db: Any) -> list[tuple[Any, ...]]:
    """What is stored, with the dimensions joined by hand."""
    songs = {row["song_id"]: row for row in db.tables["dim_songs"][0].to_pylist()}
    artists = {row["artist_id"]: row["artist"] for row in db.tables["dim_artists"][0].to_pylist()}
    return [
        (
            row["user_id"],
            row["timestamp"],
            songs[row["song_id"]]["track"],
            songs[row["song_id"]]["album"],
            artists[songs[row["song_id"]]["artist_id"]],
            songs[row["song_id"]]["spotify_uri"],
            row["ms_played"],
            row["country"],
        )
        for row in db.stores["listens"].table.to_pylist()
    ]


def as_play(item: dict[str, Any], user: str = "ann") -> tuple[Any, ...]:
    return (
        item.get("username") or user,
        dt.datetime.fromisoformat(item["ts"]),
        item["master_metadata_track_name"],
        item["master_metadata_album_album_name"],
        item["master_metadata_album_artist_name"],
        item["spotify_track_uri"],
        item["ms_played"],
        item["conn_country"],
    )


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"Spotify Extended Streaming History/{file.name}")
    return path


@pytest.mark.parametrize("form", ["folder", "zip", "files", "renamed"])
def test_an_export_in_every_form(
    form: str, spotify_export: Path, tmp_path: Path, fake_db: Any, play: Play
) -> None:
    files: list[Path]
    if form == "folder":
        files = [spotify_export]
    elif form == "zip":
        files = [zipped(spotify_export, tmp_path / "my_spotify_data.zip")]
    elif form == "files":
        files = sorted(spotify_export.glob("*.json"))
    else:
        files = []
        for number, file in enumerate(sorted(spotify_export.glob("*.json"))):
            files.append(Path(shutil.copy(file, tmp_path / f"history {number}.json")))
    report = ingest(fake_db, files)
    assert report.table == "listens"
    assert (report.rows, report.added, report.stored_before) == (103, 100, 0)
    assert report.skipped == SKIPPED
    assert report.dimensions == {"dim_songs": 7, "dim_artists": 3}
    assert report.notes == []
    assert plays_of(fake_db) == [as_play(play(number)) for number in range(100)]
    first = fake_db.stores["listens"].table.to_pylist()[1]
    assert first["date"] == first["timestamp"].date()
    assert (first["platform"], first["reason_start"], first["reason_end"]) == (
        "Android OS 8.1.0 API 27 (Google, Pixel)",
        "trackdone",
        "fwdbtn",
    )
    assert (first["shuffle"], first["skipped"], first["offline"], first["incognito"]) == (
        False,
        False,
        False,
        False,
    )


def test_second_import_adds_nothing_in_whatever_form(
    spotify_export: Path, tmp_path: Path, fake_db: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(spotify, "CHUNK_ROWS", 16)
    ingest(fake_db, spotify_export)
    before = fake_db.stores["listens"].table
    puts = list(fake_db.puts)
    for again in (
        spotify_export,
        zipped(spotify_export, tmp_path / "x.zip"),
        min(spotify_export.glob("*.json")),
    ):
        report = ingest(fake_db, again)
        assert report.added == 0
        assert report.stored_before > 0
        assert report.rows == report.stored_before + sum(report.skipped.values())
    assert fake_db.stores["listens"].table is before
    assert fake_db.puts == puts


def test_a_later_export_that_covers_the_same_years(
    spotify_export: Path, tmp_path: Path, fake_db: Any, play: Play
) -> None:
    ingest(fake_db, spotify_export)
    ids = fake_db.tables["dim_songs"][0].to_pydict(), fake_db.tables["dim_artists"][0].to_pydict()
    later = tmp_path / "later" / "endsong_0.json"
    later.parent.mkdir()
    new = [
        play(200, spotify_track_uri="spotify:track:new", master_metadata_track_name="New"),
        play(201, master_metadata_album_artist_name="Someone", spotify_track_uri="spotify:track:other"),
    ]
    later.write_text(json.dumps([play(number) for number in range(150)] + new))
    report = ingest(fake_db, later)
    assert (report.added, report.stored_before) == (52, 100)
    assert report.dimensions == {"dim_songs": 2, "dim_artists": 1}
    # Rows that were there kept their ids; new ones follow.
    for name, before in zip(("dim_songs", "dim_artists"), ids, strict=True):
        after = fake_db.tables[name][0].to_pydict()
        assert {column: values[: len(before[column])] for column, values in after.items()} == before
        key = fake_db.tables[name][1]
        assert after[key] == list(range(len(after[key])))
    assert plays_of(fake_db) == [as_play(play(number)) for number in range(150)] + [
        as_play(item) for item in new
    ]


def test_the_same_play_twice_is_one_play_and_close_ones_are_several(
    tmp_path: Path, fake_db: Any, play: Play
) -> None:
    path = tmp_path / "endsong.json"
    one = play(1)
    others = [play(1, ms_played=None), play(1, username="bob"), play(1, spotify_track_uri="spotify:track:2"),
              play(1, ts="2011-03-02T01:00:08Z")]  # fmt: skip
    path.write_text(json.dumps([one, *others, one, *others]))
    report = ingest(fake_db, path)
    assert (report.rows, report.added, report.stored_before) == (10, 5, 5)


def test_plays_without_user_get_a_default_or_the_option(tmp_path: Path, fake_db: Any, play: Play) -> None:
    path = tmp_path / "Streaming_History_Video_2018-2024.json"
    path.write_text(json.dumps([play(1, username=...), play(2, username="")]))
    report = ingest(fake_db, path)
    assert report.notes == ["2 plays name no user: stored as 'me' (choose with --user)"]
    assert fake_db.stores["listens"].table["user_id"].to_pylist() == ["me", "me"]
    report = ingest(fake_db, path, user="eve")
    assert (report.added, report.notes) == (2, [])
    assert fake_db.stores["listens"].table["user_id"].to_pylist() == ["me", "me", "eve", "eve"]


def test_the_default_pipeline_is_registered_once(spotify_export: Path, fake_db: Any) -> None:
    assert ingest(fake_db, spotify_export).pipeline == "fact_plays"
    assert fake_db.registered == [("listens", "fact_plays")]
    assert ingest(fake_db, spotify_export).pipeline is None
    report = ingest(fake_db, spotify_export, "other")
    assert report.pipeline is None
    assert report.notes == ["fact_plays exists already: define a pipeline from other into another table"]
    assert fake_db.registered == [("listens", "fact_plays")]


def test_songs_without_uri_are_told_apart_by_name(tmp_path: Path, fake_db: Any, play: Play) -> None:
    path = tmp_path / "endsong.json"
    names = [("A", "X"), ("A", "Y"), ("B", "X"), ("A", "X")]
    path.write_text(
        json.dumps(
            [
                play(
                    n,
                    spotify_track_uri=None,
                    master_metadata_track_name=t,
                    master_metadata_album_artist_name=a,
                )
                for n, (t, a) in enumerate(names)
            ]
        )
    )
    ingest(fake_db, path)
    # Albums differ by number, so the first and last are different songs too.
    assert fake_db.stores["listens"].table["song_id"].to_pylist() == [0, 1, 2, 3]
    assert ingest(fake_db, path).added == 0


def test_malformed_rows_are_counted_by_reason(tmp_path: Path, fake_db: Any, play: Play) -> None:
    path = tmp_path / "endsong_0.json"
    rows: list[Any] = [play(number) for number in range(3)]
    rows += [
        17,
        play(4, ts=None),
        play(5, ts="yesterday"),
        play(6, ts="2021-02-30T00:00:00Z"),
        play(7, ms_played="long"),
        play(8, ms_played=1 << 31),
        play(9, ms_played=True),
        play(10, conn_country=49),
        play(11, master_metadata_track_name={"name": "x"}),
        {},
    ]
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(rows).encode())
    report = ingest(fake_db, path)
    assert report.added == 3
    assert report.skipped == {
        "malformed row (not an object)": 1,
        "no time (ts)": 2,
        "malformed row (ts is not a time)": 2,
        "malformed row (ms_played is not a number of milliseconds)": 3,
        "malformed row (conn_country is not text)": 1,
        "malformed row (master_metadata_track_name is not text)": 1,
    }
    assert report.rows == len(rows) == report.added + sum(report.skipped.values())


def test_a_malformed_file_names_file_row_and_byte(
    tmp_path: Path, fake_db: Any, monkeypatch: Any, play: Play
) -> None:
    monkeypatch.setattr(spotify, "CHUNK_ROWS", 10)
    path = tmp_path / "endsong_0.json"
    whole = json.dumps([play(number) for number in range(50)])
    path.write_text(whole[: whole.index('"ts"', len(whole) * 4 // 5)])
    with pytest.raises(
        InvalidError, match=r"endsong_0\.json is malformed in row 4\d, before byte \d+: parse error"
    ):
        ingest(fake_db, path)
    stored = fake_db.stores["listens"].table.num_rows
    assert 0 < stored < 50
    # The mended file adds the rest.
    path.write_text(whole)
    report = ingest(fake_db, path)
    assert (report.stored_before, report.added) == (stored, 50 - stored)


@pytest.mark.parametrize("content", ["", "{}", "null", "[1, 2", '{"ts": 1}'])
def test_files_that_are_no_array(content: str, tmp_path: Path, fake_db: Any) -> None:
    path = tmp_path / "endsong_0.json"
    path.write_text(content)
    with pytest.raises(InvalidError, match=r"endsong_0\.json is (not a JSON array|malformed in row)"):
        ingest(fake_db, path)
    assert "listens" not in fake_db.stores or fake_db.stores["listens"].table.num_rows == 0


def test_a_damaged_zip_names_the_member(spotify_export: Path, tmp_path: Path, fake_db: Any) -> None:
    path = zipped(spotify_export, tmp_path / "x.zip")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = next(item for item in archive.infolist() if item.filename.endswith("_1.json"))
    content[info.header_offset + 200 : info.header_offset + 260] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(InvalidError, match=r"x\.zip:.*2016-2019_1\.json is (damaged|malformed) in row"):
        ingest(fake_db, path)


def test_other_files_are_left_aside_and_named(spotify_export: Path, fake_db: Any) -> None:
    (spotify_export / "Userdata.json").write_text("{}")
    report = ingest(fake_db, spotify_export)
    assert report.added == 100
    assert report.notes == ["left aside in Spotify Extended Streaming History: Userdata.json"]


def test_the_short_account_data_is_refused_with_the_way_out(tmp_path: Path, fake_db: Any) -> None:
    path = tmp_path / "StreamingHistory_music_0.json"
    path.write_text('[{"endTime": "2023-01-01 10:00", "artistName": "A", "trackName": "B", "msPlayed": 1}]')
    with pytest.raises(InvalidError, match=r"Extended streaming history.*spotify.com"):
        ingest(fake_db, path)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(path, f"MyData/{path.name}")
    with pytest.raises(InvalidError, match="Extended streaming history"):
        ingest(fake_db, tmp_path / "x.zip")


def test_what_does_not_go_together(spotify_export: Path, tmp_path: Path, fake_db: Any) -> None:
    csv = tmp_path / "a.csv"
    csv.write_text("k,t\n1,2024-01-01\n")
    with pytest.raises(InvalidError, match=r"a\.csv is not part of a Spotify history"):
        ingest(fake_db, [spotify_export, csv])
    with pytest.raises(InvalidError, match="--key does not apply"):
        ingest(fake_db, spotify_export, key="user_id")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(csv, "a.csv")
    with pytest.raises(InvalidError, match="unpack it"):
        ingest(fake_db, tmp_path / "x.zip", key="k", time="t")
    assert fake_db.stores == {}
    ingest(fake_db, csv, "listens", key="k", time="t")
    with pytest.raises(SchemaError, match=r"'listens' holds other columns.*--table"):
        ingest(fake_db, spotify_export)


def test_dimensions_are_published_before_the_plays_that_need_them(spotify_export: Path, fake_db: Any) -> None:
    fake_db.create_events("listens", spotify.LISTENS_SCHEMA, "user_id", "timestamp").fail_after = 0
    with pytest.raises(OSError, match="disk full"):
        ingest(fake_db, spotify_export)
    assert fake_db.puts == [("dim_artists", 3), ("dim_songs", 7)]
    fake_db.stores["listens"].fail_after = None
    report = ingest(fake_db, spotify_export)
    assert report.added == 100
    assert fake_db.tables["dim_songs"][0].num_rows == 7


def test_a_dimension_with_other_columns_is_refused_and_more_columns_are_kept(
    spotify_export: Path, fake_db: Any
) -> None:
    import pyarrow as pa

    fake_db.put_dimension("dim_artists", pa.table({"artist_id": [1], "name": ["x"]}), "artist_id")
    with pytest.raises(SchemaError, match="'dim_artists' exists and has no column 'artist'"):
        ingest(fake_db, spotify_export)
    mine = pa.table({"artist_id": pa.array([41], pa.int32()), "artist": ["Artist 1"], "genre": ["folk"]})
    fake_db.put_dimension("dim_artists", mine, "artist_id")
    assert ingest(fake_db, spotify_export).dimensions["dim_artists"] == 2
    assert fake_db.tables["dim_artists"][0].to_pydict() == {
        "artist_id": [41, 42, 43],
        "artist": ["Artist 1", "Artist 0", "Artist 2"],
        "genre": ["folk", None, None],
    }


def test_memory_stays_bounded(tmp_path: Path, fake_db: Any, monkeypatch: Any, play: Play) -> None:
    # Rows in flight, not bytes: what the importer holds is at most one chunk.
    monkeypatch.setattr(spotify, "CHUNK_ROWS", 100)
    path = tmp_path / "endsong_0.json"
    path.write_text(json.dumps([play(number) for number in range(1000)]))
    sizes: list[int] = []
    store = spotify._Importer.store
    monkeypatch.setattr(
        spotify._Importer,
        "store",
        lambda self, rows, entry: (sizes.append(len(rows)), store(self, rows, entry)),
    )
    ingest(fake_db, path)
    assert sizes == [100] * 10
