"""Opening a table with much in its log: shows how far it is, and may be stopped."""

from __future__ import annotations

import itertools
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

import segue
from segue import _engine
from segue.cli import app
from segue.events import Events

SCHEMA = pa.schema({"user": pa.int64(), "page": pa.string(), "at": pa.timestamp("us")})
# Takes some tenths of a second to replay.
EVENTS = 800_000


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database whose log holds `EVENTS` events, a record each."""
    path = tmp_path_factory.mktemp("replay") / "db"
    with segue.open(path) as db:
        db.create_events("views", SCHEMA, key="user", time="at")
    # Where the processor is busy, rows wait unsorted, take more memory, and would be flushed.
    options = {"memtable_bytes": 1 << 30}
    with Events.open(path / "events" / "views", "views", durability="os", _options=options) as views:
        for n in range(EVENTS):
            views.append(n % 1000, "p", n)
    return path


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy: opening it for writing begins a new log."""
    return Path(shutil.copytree(written, tmp_path / "db"))


def open_store(folder: Path, mode: str, progress: Any) -> Any:
    return _engine.EventStore.open(str(folder / "events" / "views"), "os", mode == "r", {}, None, progress)


def check_all_there(folder: Path) -> None:
    with segue.open(folder, durability="os") as db:
        views = db.events("views")
        assert views.snapshot().sequence == EVENTS
        assert sorted(views.scan(columns=["at"]).to_arrow()["at"].cast("int64").to_pylist()) == list(
            range(EVENTS)
        )


@contextmanager
def ctrl_c_after(seconds: float) -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("mode", ["rw", "r"])
def test_progress_goes_on_to_the_end(folder: Path, mode: str) -> None:
    whole = max((folder / "events" / "views").glob("wal-*.log")).stat().st_size  # older ones are retired
    seen: list[tuple[int, int]] = []
    open_store(folder, mode, lambda *now: seen.append(now)).close()
    assert seen, "short as it was, it was told once"
    assert {done + left for done, left in seen} == {sum(seen[0])}, "the whole stays the whole"
    assert sum(seen[0]) == whole
    done = [done for done, _ in seen]
    assert done == sorted(set(done))


def test_several_logs_are_one_replay() -> None:
    options = {"wal_bytes": 8192, "window_rows": 16}
    most = 0
    for seed in range(20):
        env = _engine.testing.MemEnv()
        events = Events.create("t", "t", SCHEMA, "user", "at", durability="os", _options=options, _env=env)
        for n in range(300 + seed):
            events.append(n, "p", n)
        after = env.crash("all")
        events.close()
        logs = [n for n in after.list("t") if n.startswith("wal-") and n.endswith(".log")]
        seen: list[tuple[int, ...]] = []

        def note(*now: int, to: list[tuple[int, ...]] = seen) -> None:
            to.append(now)

        store = _engine.EventStore.open("t", "os", False, options, after, note)
        assert store.stats()["sequence"] == 300 + seed
        store.close()
        if seen:
            most = max(most, sum(seen[0]) // 8192)
            assert sum(seen[0]) <= len(logs) * 8192
    assert most > 1, "never more than one log to replay"


@pytest.mark.parametrize("mode", ["rw", "r"])
def test_what_progress_raises_ends_the_open(folder: Path, mode: str) -> None:
    class Enough(Exception):
        pass

    for calls in (3, 1, 2, 1, 1):
        ticks = itertools.count(1)

        def enough(done: int, left: int, calls: int = calls, ticks: Iterator[int] = ticks) -> None:
            if next(ticks) == calls:
                raise Enough

        with pytest.raises(Enough):
            open_store(folder, mode, enough)
    logs = list((folder / "events" / "views").glob("wal-*.log"))
    assert len(logs) <= 4, "each try leaves a log"
    check_all_there(folder)


@pytest.mark.parametrize("mode", ["rw", "r"])
def test_ctrl_c_ends_a_replay(folder: Path, mode: Any) -> None:
    with segue.open(folder, durability="os", mode=mode) as db:
        with pytest.raises(KeyboardInterrupt), ctrl_c_after(0.02):
            db.events("views")
        # The same handle may try again.
        assert db.events("views").snapshot().sequence == EVENTS
    check_all_there(folder)


def test_ctrl_c_in_a_refresh_shows_no_less(tmp_path: Path) -> None:
    with segue.open(tmp_path, durability="os") as db:
        views = db.create_events("views", SCHEMA, key="user", time="at")
        views.append(0, "p", 0)
        with segue.open(tmp_path, mode="r") as reader:
            seen = reader.events("views")
            held = seen.snapshot()
            for n in range(1, EVENTS):
                views.append(n % 1000, "p", n)
            with pytest.raises(KeyboardInterrupt), ctrl_c_after(0.02):
                seen.refresh()
            assert seen.snapshot().sequence == held.sequence == 1
            assert seen.scan().to_arrow().num_rows == 1
            assert seen.refresh() == EVENTS
            assert seen.scan().to_arrow().num_rows == EVENTS
            assert held.scan().to_arrow().num_rows == 1
            held.close()


def test_a_bar_is_shown_when_it_takes_long(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("segue.progress._DELAY", 3600.0)
    with segue.open(folder, durability="os", progress=True) as db:
        db.events("views")
    assert capsys.readouterr() == ("", ""), "it was short"
    monkeypatch.setattr("segue.progress._DELAY", -1.0)
    with segue.open(folder, durability="os") as db:
        db.events("views")
    assert capsys.readouterr() == ("", ""), "nobody asked"
    with segue.open(folder, mode="r", progress=True) as db:
        db.events("views")
    out, err = capsys.readouterr()
    assert out == ""
    assert "open views: bytes of log read" in err


def test_the_command_line_shows_it_on_a_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segue.progress._DELAY", -1.0)
    command = ["sql", str(folder), "SELECT COUNT(*) FROM views"]
    assert "open views" not in CliRunner().invoke(app, command).stderr
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = CliRunner().invoke(app, command)
    assert "open views: bytes of log read" in shown.stderr
    assert str(EVENTS) in shown.stdout
