"""Imports into the real engine: what test_ingest_*.py check against a fake, and the way to an answer."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import segue
from segue import datagen
from segue.cli import app
from segue.demo import STORY_QUERY
from segue.errors import SchemaError
from segue.importers import ingest


def test_from_a_spotify_export_to_the_top_artists(spotify_export: Path, tmp_path: Path) -> None:
    items = [item for file in spotify_export.glob("*.json") for item in json.loads(file.read_text())]
    plays = [item for item in items if item["master_metadata_track_name"]]
    runner = CliRunner()
    path = str(tmp_path / "music")
    for added in (100, 0):
        done = runner.invoke(app, ["ingest", path, str(spotify_export), "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["added"] == added
    done = runner.invoke(app, ["etl", path, "--json"])
    assert done.exit_code == 0, done.output
    [run] = json.loads(done.stdout)["runs"]
    months = {item["ts"][:7] for item in plays}
    assert (run["rows_out"], run["dropped"]) == (100, {"dim_songs": 0})
    assert run["files"] == len(months)

    def expected(since: str) -> Counter[tuple[str, str]]:
        return Counter(
            (item["master_metadata_album_artist_name"], item["conn_country"])
            for item in plays
            if item["ts"][:10] >= since
        )

    with segue.open(path, mode="r") as db:
        rows = db.sql(STORY_QUERY).fetchall()
        assert {(artist, country): n for artist, country, n in rows} == expected("2024-01-01")
        everything = db.sql(STORY_QUERY.replace("2024-01-01", "2000-01-01")).fetchall()
        assert {(artist, country): n for artist, country, n in everything} == expected("2000-01-01")
        assert db.sql("SELECT COUNT(*) FROM fact_plays WHERE date <> timestamp::DATE").fetchall() == [(0,)]
    # A later export: its new plays come with the next run.
    more = [dict(plays[0], ts="2024-05-05T10:00:00Z"), plays[1]]
    (tmp_path / "endsong_9.json").write_text(json.dumps(more))
    done = runner.invoke(app, ["ingest", path, str(tmp_path / "endsong_9.json"), "--json"])
    assert [json.loads(done.stdout)[name] for name in ("added", "stored_before")] == [1, 1]
    with segue.open(path) as db:
        [report] = db.run_pipelines()
        assert report.rows_out == 1
        assert sum(row[2] for row in db.sql(STORY_QUERY).fetchall()) == expected("2024-01-01").total() + 1


def test_ten_years_of_plays(tmp_path: Path, play: Any) -> None:
    """Sparse history: thousands of days, one file a month at most."""
    start = dt.datetime(2014, 1, 1)
    folder = tmp_path / "export"
    folder.mkdir()
    for part in range(3):
        items = [
            play(n, ts=f"{start + dt.timedelta(hours=9 * n, seconds=n % 60):%Y-%m-%dT%H:%M:%SZ}",
                 spotify_track_uri=f"spotify:track:{n * 37 % 1500}",
                 master_metadata_album_artist_name=f"Artist {n * 37 % 1500 % 200}")
            for n in range(part * 3000, (part + 1) * 3000)
        ]  # fmt: skip
        (folder / f"Streaming_History_Audio_2014-2024_{part}.json").write_text(json.dumps(items))
    with segue.open(tmp_path / "music") as db:
        report = ingest(db, folder)
        assert (report.added, report.dimensions) == (9000, {"dim_songs": 1500, "dim_artists": 200})
        [run] = db.run_pipelines()
        assert run.rows_out == 9000
        assert run.files <= 12 * 10
        assert ingest(db, folder).added == 0
        assert db.run_pipelines()[0].up_to_date
        top = db.sql(STORY_QUERY.replace("2024-01-01", "2014-01-01").removesuffix(" LIMIT 100"))
        assert sum(row[2] for row in top.fetchall()) == 9000


@pytest.mark.parametrize(
    ("make", "key", "time"),
    [
        (lambda: datagen.plays(3000, datagen.Plays(users=50, songs=20, artists=5)), ["user_id"], "timestamp"),
        (lambda: datagen.readings(3000), ["sensor"], "at"),
        (lambda: datagen.trades(3000), ["account", "symbol"], "executed"),
    ],
)
def test_parquet_of_every_schema_goes_through_unchanged(
    make: Any, key: list[str], time: str, tmp_path: Path
) -> None:
    table = pa.Table.from_batches(list(make())).combine_chunks()
    pq.write_table(table, tmp_path / "a.parquet")
    with segue.open(tmp_path / "db") as db:
        report = ingest(db, tmp_path / "a.parquet", key=key, time=time)
        assert report.added == 3000
        widened = [name for name in ("at", "executed", "quantity") if name in table.column_names]
        assert len(report.notes) == bool(widened)
        assert all(f"{name} (" in report.notes[0] for name in widened)
        assert ingest(db, tmp_path / "a.parquet").added == 0
    with segue.open(tmp_path / "db") as db:  # tokens outlive the process
        assert ingest(db, tmp_path / "a.parquet").stored_before == 3000
        found = pa.table(db.events("events").scan())
    order = [(name, "ascending") for name in (*key, time)]
    for name in table.column_names:
        kind = table.schema.field(name).type
        assert found.schema.field(name).type == kind
        ours, theirs = (t.sort_by(order)[name].to_pylist() for t in (found, table))
        assert Counter(map(repr, ours)) == Counter(map(repr, theirs)), name


def test_types_that_no_table_holds_are_refused(tmp_path: Path) -> None:
    table = pa.table(
        {
            "k": [1],
            "t": pa.array([0], pa.timestamp("us")),
            "d": pa.array([dt.timedelta(seconds=1)], pa.duration("us")),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    with segue.open(tmp_path / "db") as db:
        with pytest.raises(SchemaError, match="'d'"):
            ingest(db, tmp_path / "a.parquet", key="k", time="t")
        assert db.events() == []
        assert ingest(db, tmp_path / "a.parquet", key="k", time="t", columns=["k"]).added == 1
