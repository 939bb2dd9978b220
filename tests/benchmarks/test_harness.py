from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.harness import Contender

ROOT = Path(__file__).resolve().parents[2]
HERE = "tests.benchmarks.contenders"


def counting(name: str, **params: object) -> Contender:
    return Contender(name, f"{HERE}:counting", params={"name": name, **params})


def test_contenders_alternate(tmp_path: Path):
    log = tmp_path / "log"
    results = harness.alternate([counting("a"), counting("b")], {"log": str(log)}, rounds=2)
    assert log.read_text().split() == ["a", "b", "a", "b"]
    assert [len(results[name].seconds) for name in "ab"] == [4, 4]
    assert all(second > 0 for second in results["a"].seconds)
    works = {sample.outcome.extra["work"] for m in results.values() for sample in m.samples}
    assert len(works) == 4
    assert not any(Path(work).exists() for work in works)


def test_other_outputs_are_refused_and_named(tmp_path: Path):
    contenders = [counting("honest"), counting("liar", digest="other"), counting("upright")]
    with pytest.raises(harness.OutputsDifferError) as caught:
        harness.alternate(contenders, {"log": str(tmp_path / "log")}, rounds=1)
    same, other = [line for line in str(caught.value).splitlines() if "digest" in line]
    assert "honest" in same
    assert "upright" in same
    assert "liar" in other
    assert "honest" not in other


def test_a_failing_contender_drops_out_with_its_reason(tmp_path: Path):
    contenders = [Contender("broken", f"{HERE}:failing"), counting("fine")]
    results = harness.alternate(contenders, {"log": str(tmp_path / "log")}, rounds=2)
    assert "the disk is on fire" in results["broken"].failure
    assert len(results["fine"].samples) == 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is split by /proc only")
@pytest.mark.skipif("SEGUE_SANITIZED" in os.environ, reason="a sanitizer's memory counts, too")
def test_child_measures_the_measured_part():
    usage = harness.run_child(Contender("hungry", f"{HERE}:hungry"), {}).usage
    assert 64 << 20 <= usage["memory_anonymous"] < 200 << 20  # without the 256 MiB of set-up
    assert usage["written_syscall_bytes"] >= 8 << 20
    assert 0 < usage["cpu_seconds"] < usage["wall_seconds"] + 1


def test_missing_peers_say_what_they_lack():
    assert Contender("us", "m:f").missing() is None
    assert Contender("us", "m:f", requires=("pytest",)).missing() is None
    assert "'no-such-peer'" in str(Contender("p", "m:f", requires=("no-such-peer",)).missing())
    assert "'no-such-program'" in str(Contender("p", "m:f", requires=("command:no-such-program",)).missing())


@pytest.mark.parametrize(
    ("unit", "expected"), [("rows/s", 500.0), ("s", 2.0), ("ms", 2000.0), ("ns/row", 2e6)]
)
def test_figures_follow_from_rows_and_seconds(unit: str, expected: float):
    assert harness.figure(unit, 1000, 2.0) == expected


def test_units_without_a_figure_are_refused():
    with pytest.raises(ValueError, match="value="):
        harness.figure("bytes", 1000, 2.0)


SUITE = """
import pytest
from benchmarks.harness import Contender, annotate

CONTENDERS = [
    Contender("segue", "HERE:counting", params={"name": "segue"}, options="as it comes"),
    Contender("peer", "HERE:counting", params={"name": "peer"}),
    Contender("absent", "HERE:counting", requires=("no-such-peer",)),
]

@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: c.name)
def test_batches(contest, contender):
    contest("events/batches", CONTENDERS, contender, params={"log": LOG}, durability="os")

def test_kernel(benchmark):
    benchmark.pedantic(sum, args=(range(1000),), rounds=3)
    annotate(benchmark, "kernels/sum", contender="scalar", rows=1000, unit="ns/row", limit_percent=1.5)
"""


def pytest_of(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a session as users start it, with a cache of its own."""
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={**os.environ, "SEGUE_BENCH_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_suite_replays_alternated_samples(tmp_path: Path):
    """The whole way: options, fixture, JSON, summary; in a session of its own as users start it."""
    log, results = tmp_path / "log", tmp_path / "results.json"
    suite = tmp_path / "test_suite.py"
    suite.write_text(SUITE.replace("LOG", repr(str(log))).replace("HERE", HERE))
    (tmp_path / "conftest.py").write_text("from benchmarks.conftest import *\n")
    done = pytest_of(tmp_path, str(suite), "--benchmark-json", str(results), "--rounds", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed, 1 skipped" in done.stdout
    assert "absent: the distribution 'no-such-peer' is not installed" in done.stdout
    assert log.read_text().split() == ["segue", "peer", "segue", "peer"]

    page = json.loads(results.read_text())
    by_name = {entry["extra_info"]["contender"]: entry for entry in page["benchmarks"]}
    assert set(by_name) == {"segue", "peer", "scalar"}
    ours = by_name["segue"]
    assert ours["group"] == "events/batches"
    assert ours["stats"]["rounds"] == 4
    info = ours["extra_info"]
    assert info["value"] == pytest.approx(10_000 / statistics.median(ours["stats"]["data"]))
    assert info["value"] == pytest.approx(10_000 / ours["stats"]["median"])
    assert info["durability"] == "os"
    assert info["options"] == "as it comes"
    assert info["targets"][0]["goal"] == "at least 4 M rows/s and at least 10 x rocksdict"
    assert info["targets"][0]["budget"] == "100 K writes/s"
    assert info["cpu_seconds"] >= 0
    assert page["segue"]["probes"]["disk_write_bytes_per_second"] > 0
    assert page["segue"]["skipped"] == ["absent: the distribution 'no-such-peer' is not installed"]
    kernel = by_name["scalar"]
    assert kernel["group"] == "kernels/sum"
    assert kernel["extra_info"]["value"] == pytest.approx(kernel["stats"]["median"] * 1e9 / 1000)
    assert kernel["extra_info"]["limit_percent"] == 1.5


def test_a_large_scale_says_first_what_it_takes(tmp_path: Path):
    done = pytest_of(tmp_path, "benchmarks/events", "--scale", "medium", "--collect-only", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    plan = done.stdout[done.stdout.index("plan: disk") :]
    assert "benchmarks.events.test_appends, medium" in plan
    assert "GB are free in" in plan


def test_some_suites_have_another_scale(tmp_path: Path):
    asked = ("--scale", "small", "--scale-of", "test_reads=large", "--scale-of", "absent=medium")
    done = pytest_of(tmp_path, "benchmarks/events", *asked, "--collect-only", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    plan = done.stdout[done.stdout.index("plan: disk") :]
    assert "benchmarks.events.test_reads, large" in plan
    assert "benchmarks.events.test_appends" not in plan, "scale small needs no plan"

    suite = tmp_path / "test_suite.py"
    suite.write_text(
        "def test_one(scale): assert scale == 'large'\ndef test_two(scale): assert scale == 'small'\n"
    )
    (tmp_path / "conftest.py").write_text("from benchmarks.conftest import *\n")
    done = pytest_of(tmp_path, str(suite), "--scale-of", "test_one=medium", "--scale-of", "_one=large")
    assert "2 passed" in done.stdout, done.stdout + done.stderr

    suite.write_text(
        "import pytest\n@pytest.mark.parametrize('c', ['segue', 'peer'])\n"
        "def test_one(scale, c): assert scale == 'small'\n"
    )
    done = pytest_of(tmp_path, str(suite), "--scale-of", "segue=large")
    assert "2 passed" in done.stdout, "contenders of a group have one scale"


@pytest.mark.parametrize("wrong", ["large", "=large", "test_reads=huge"])
def test_a_mistaken_scale_is_told_before_anything_runs(tmp_path: Path, wrong: str):
    done = pytest_of(tmp_path, "benchmarks/events", "--scale-of", wrong, "--collect-only", "-q")
    assert done.returncode == 4
    assert f"--scale-of {wrong}: give WORD=SCALE" in done.stderr


def test_suites_need_no_peers(tmp_path: Path):
    done = pytest_of(tmp_path, "benchmarks/events/test_schemas.py", "-k", "segue and trades", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
