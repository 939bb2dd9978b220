from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

import segue
from segue import demo
from segue.cli import app
from segue.demo import STORY_QUERY, run_demo
from segue.errors import InvalidError

REQUIRED = {
    "events",
    "fact_rows",
    "plays",
    "append_events_per_s",
    "append_p99_ms",
    "etl_rows_per_s",
    "query_seconds",
}


def test_the_query_is_the_storys_word_for_word() -> None:
    assert STORY_QUERY == (
        "SELECT artist, country, COUNT(*) AS plays "
        "FROM fact_plays f JOIN dim_artists a ON f.artist_id = a.artist_id "
        "WHERE f.date >= '2024-01-01' GROUP BY artist, country ORDER BY plays DESC LIMIT 100"
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, demo.DemoReport, list[demo.Act]]:
    path = tmp_path_factory.mktemp("demo") / "music"
    acts: list[demo.Act] = []
    return path, run_demo(20_000, path, durability="os", on_act=acts.append), acts


def test_every_event_is_counted_once(finished: tuple[Path, demo.DemoReport, list[demo.Act]]) -> None:
    path, report, _ = finished
    assert (report.events, report.fact_rows, report.plays) == (20_000, 20_000, 20_000)
    assert report.conserved
    assert report.fact_columns == 20
    assert report.days == 5
    assert report.late_events == 400
    assert report.single_appends + report.batches > 20
    assert report.single_appends == pytest.approx(20_000 * demo.SINGLE_SHARE, abs=25)
    # DuckDB on the same files, without us.
    with segue.open(path, mode="r") as db:
        snapshot = db.fact_table("fact_plays").snapshot()
        assert snapshot is not None
        files = [file.path for file in snapshot.files]
        dim = db.dimension("dim_artists").table
        assert dim.num_rows > 0
        answer = db.sql(STORY_QUERY)
    con = duckdb.connect()
    con.register("dim_artists", dim)
    con.execute(f"CREATE VIEW fact_plays AS SELECT * FROM read_parquet({files!r}, hive_partitioning = true)")
    assert con.execute("SELECT COUNT(*) FROM fact_plays").fetchone() == (20_000,)
    unlimited = STORY_QUERY.removesuffix(" LIMIT 100")
    everything = {(a, c): n for a, c, n in con.execute(unlimited).fetchall()}
    rows = answer.fetchall()
    assert [n for _, _, n in rows] == sorted(everything.values(), reverse=True)[:100]
    assert all(everything[a, c] == n for a, c, n in rows)
    assert [tuple(row) for row in report.top] == rows[:10]


def test_the_story_runs_natively_on_3_of_20_columns(
    finished: tuple[Path, demo.DemoReport, list[demo.Act]],
) -> None:
    path, _, _ = finished
    with segue.open(path, mode="r") as db:
        plan = db.explain(STORY_QUERY)
        assert plan.native
        assert (set(plan.columns), plan.columns_total) == ({"artist_id", "country", "date"}, 20)
        metrics = db.sql(STORY_QUERY).metrics
        assert metrics.engine == "native"
        assert (set(metrics.columns), metrics.columns_total) == ({"artist_id", "country", "date"}, 20)
        assert set(metrics.columns_read or ()) == {"artist_id", "country"}, "the date costs no page"


def test_each_act_has_its_figures_and_budgets(finished: tuple[Path, demo.DemoReport, list[demo.Act]]) -> None:
    _, report, acts = finished
    assert [act.title[:5] for act in acts] == ["Act 1", "Act 2", "Act 3"]
    budgets = {(figure.name, figure.unit): figure.budget for act in acts for figure in act.figures}
    assert budgets["rate", "events/s"] == 100_000
    assert budgets["append, p99", "ms"] == 8
    assert budgets["8.6 billion events", "h"] == 3
    assert budgets["query", "s"] == 2
    assert 'durability "os"' in acts[0].text
    assert "a third run found nothing new" in acts[1].text
    assert report.query_native


def test_figures_know_their_budget() -> None:
    assert demo.Figure("x", 1, "s", 2).within is True
    assert demo.Figure("x", 3, "s", 2).within is False
    assert demo.Figure("x", 3, "s", 2, at_least=True).within is True
    assert demo.Figure("x", 3, "s").within is None


def test_json_has_one_object_with_the_promised_figures(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--events", "1000", "--dir", str(tmp_path / "x"), "--json"])
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert set(report) >= REQUIRED
    assert report["events"] == report["fact_rows"] == report["plays"] == 1000
    assert all(report[name] > 0 for name in REQUIRED)
    assert report["durability"] == "commit"
    assert len(report["top"]) == 10


def test_text_ends_with_the_top_artists_and_the_place(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["demo", "--events", "1000", "--dir", str(tmp_path / "x"), "--seed", "7"]
    )
    assert result.exit_code == 0, result.output
    expected = [
        *("Act 1", "Act 2", "Act 3", "Top artists", STORY_QUERY, str(tmp_path / "x")),
        *("budget: at most 8 ms", "budget: at least 100,000 events/s"),
        *("budget: at most 3 h", "budget: at most 2 s"),
        "1,000 events, 1,000 fact rows and 1,000 plays agree",
    ]
    for text in expected:
        assert text in result.stdout, text


def test_a_temporary_directory_is_named_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    report = run_demo(100, durability="os")
    assert Path(report.path).parent == tmp_path
    assert (Path(report.path) / "warehouse" / "fact_plays").is_dir()
    with segue.open(report.path, mode="r") as db:
        assert db.sql("SELECT COUNT(*) FROM listens").fetchall() == [(100,)]


def test_the_same_seed_gives_the_same_answer(tmp_path: Path) -> None:
    one = run_demo(2000, tmp_path / "a", durability="os", seed=5)
    two = run_demo(2000, tmp_path / "b", durability="os", seed=5)
    other = run_demo(2000, tmp_path / "c", durability="os", seed=6)
    assert {row[2] for row in one.top} == {row[2] for row in two.top}
    assert one.top[0] == two.top[0]
    assert one.top != other.top


def test_single_appends_stop_where_the_disk_is_slow(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(demo, "SINGLE_SECONDS", 0.0)
    report = run_demo(1000, tmp_path / "x", durability="os")
    assert report.single_appends == 0
    assert report.conserved


def test_lost_events_fail_loudly(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(demo, "STORY_QUERY", STORY_QUERY.replace("'2024-01-01'", "'2024-03-02'"))
    result = CliRunner().invoke(app, ["demo", "--events", "1000", "--dir", str(tmp_path / "x"), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["conserved"] is False
    assert "lost or counted twice" in result.stderr


def test_a_directory_in_use_and_too_few_events_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(InvalidError, match="not empty"):
        run_demo(1000, tmp_path)
    with pytest.raises(InvalidError, match="events=99"):
        run_demo(99)
    assert (tmp_path / "x").read_text() == "mine"
