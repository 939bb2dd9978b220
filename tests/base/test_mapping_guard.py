"""A mapped file that loses its pages gives errors, never a SIGBUS.

Each test runs in a process of its own, as what it looks for would end this one.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


def run(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ends_well(code: str, *args: object) -> str:
    done = run(code, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_stores_into_a_file_that_was_cut_short(tmp_path: Path) -> None:
    ends_well(
        """
        import os, sys
        from segue import _engine

        path = sys.argv[1]
        file = _engine.testing.posix_env().new_mapped_file(path, 1 << 20)
        file.store(5000, b"before")
        os.truncate(path, 4096)
        file.store(100, b"a page that is still there")
        for at in (5000, 5001, 900_000):
            try:
                file.store(at, b"lost")
            except OSError as error:
                assert "cut short" in str(error) and path in str(error), error
            else:
                sys.exit(f"a store at {at} seemed to work")
        try:
            file.sync(0, 1 << 20)
        except OSError:
            pass
        else:
            sys.exit("what was lost seemed to be synced")
        # Other mappings, and later ones at the same address, are none the worse.
        del file
        other = _engine.testing.posix_env().new_mapped_file(path + "2", 1 << 20)
        other.store(5000, b"fine")
        other.sync(0, 1 << 20)
        assert os.path.getsize(path) == 4096
        """,
        tmp_path / "mapped",
    )


def test_only_the_mapping_that_lost_a_page_says_so(tmp_path: Path) -> None:
    ends_well(
        """
        import os, sys
        from segue import _engine

        env = _engine.testing.posix_env()
        files = [env.new_mapped_file(f"{sys.argv[1]}{n}", 1 << 20) for n in range(5)]
        os.truncate(f"{sys.argv[1]}3", 0)
        for n, file in enumerate(files):
            try:
                file.store(70_000, b"x")
            except OSError:
                assert n == 3
            else:
                assert n != 3
        """,
        tmp_path / "mapped",
    )


@pytest.mark.parametrize("enabled", [False, True])
def test_a_bus_error_elsewhere_ends_the_process_as_ever(tmp_path: Path, enabled: bool) -> None:
    done = run(
        """
        import faulthandler, mmap, os, sys
        if sys.argv[2] == "True":
            faulthandler.enable()
        from segue import _engine

        file = _engine.testing.posix_env().new_mapped_file(sys.argv[1], 1 << 20)
        with open(sys.argv[1] + "2", "wb+") as theirs:
            theirs.truncate(8192)
            pages = mmap.mmap(theirs.fileno(), 8192)
            theirs.truncate(0)
            pages[5000] = 1
        """,
        tmp_path / "mapped",
        enabled,
    )
    assert done.returncode == -signal.SIGBUS
    assert ("Bus error" in done.stderr) == enabled, "the handler that was there before is called"


@pytest.mark.parametrize("durability", ["os", "interval", "commit"])
def test_a_log_that_is_cut_short_fails_appends_and_keeps_what_was_acknowledged(
    tmp_path: Path, durability: str
) -> None:
    out = ends_well(
        """
        import glob, os, sys
        import pyarrow as pa
        from segue.errors import Error
        from segue.events import Events

        schema = pa.schema({"k": pa.int64(), "at": pa.timestamp("us")})
        events = Events.create(sys.argv[1], "t", schema, "k", "at", durability=sys.argv[2])
        acknowledged = [events.append(n, n) for n in range(200)]
        (log,) = glob.glob(sys.argv[1] + "/wal-*.log")
        os.truncate(log, 8192)
        failed = 0
        for n in range(200, 1000):
            try:
                acknowledged.append(events.append(n, n))
            except (Error, OSError):
                failed += 1
        # What is in memory is still right, whatever became of the log.
        found = events.scan(columns=["k"]).to_arrow()["k"].to_pylist()
        assert set(range(200)) <= set(found) and len(found) == len(set(found))
        assert len(found) >= len(acknowledged)
        print(failed)
        if sys.argv[2] == "os":
            # Nothing is synced here, so nothing has to stop: a new log takes over, and what the broken
            # one held is flushed.
            events.flush()
            events.close()
            with Events.open(sys.argv[1], "t") as again:
                assert len(acknowledged) == again.scan(columns=["k"]).to_arrow().num_rows
        """,
        tmp_path / "t",
        durability,
    )
    if durability == "os":
        assert int(out) == 0
