"""Kernel suites: the bound that stands beside a figure, what a suite records, and the report's section."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.kernels import kernel
from benchmarks.kernels.kernel import Cost
from benchmarks.kernels.test_bloom import theory
from benchmarks.report import kernels as section
from benchmarks.report import results
from segue import _engine
from segue.errors import UnsupportedError
from tests.benchmarks.test_harness import pytest_of
from tests.benchmarks.test_report import entry, write


@pytest.fixture
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads 100 bytes a second, copies 50, fetches 10 words and writes 5 bytes to disk."""
    rates = {"memory_read_bytes_per_second": 100.0, "memory_copy_bytes_per_second": 50.0}
    monkeypatch.setattr(machine, "memory_bandwidth", lambda: rates)
    monkeypatch.setattr(machine, "random_reads", lambda working_set: 10.0)
    monkeypatch.setattr(machine, "probes", lambda work: {"disk_write_bytes_per_second": 5.0})


@pytest.mark.usefixtures("slow_machine")
def test_bounds_are_what_each_resource_takes():
    assert Cost(read=100).bounds(None) == {"memory bandwidth": 1.0}
    # 50 bytes are copied, the other 50 only read.
    assert Cost(read=100, written=50).bounds(None) == {"memory bandwidth": 1.5}
    assert Cost(read=50, written=100).bounds(None) == {"memory bandwidth": 2.0}
    assert Cost(fetches=20, working_set=1 << 20).bounds(None)["random reads"] == 2.0
    assert Cost(disk=20).bounds(None)["disk bandwidth"] == 4.0


def test_random_reads_slow_down_beyond_the_caches():
    """A probe that a compiler has folded away, or whose reads are in order, shows no difference."""
    cached, memory = machine.random_reads(16 << 10), machine.random_reads(128 << 20)
    assert cached > 1.5 * memory
    assert machine.random_reads(1 << 40) == memory


@pytest.mark.parametrize("bits", [8, 12])
def test_theory_of_false_positives_fits_the_bits_of_a_filter(bits: int):
    keys = 100_000
    bloom = _engine.BloomFilter(keys, bits)
    bloom.add(range(keys))
    assert bloom.false_positive_rate == pytest.approx(theory(keys, bloom.nbytes // 64), rel=0.05)


def test_another_instruction_set_is_refused():
    with pytest.raises(UnsupportedError, match="vliw"):
        _engine.testing.crc32c_pieces("vliw", b"abc", 1)
    missing = {"avx2", "neon"} - set(_engine.testing.packed_isas())
    for isa in missing:
        with pytest.raises(UnsupportedError, match=isa):
            _engine.testing.packed_unpack_blocks(isa, b"abc", 8, 3, 8, 32)


def test_a_suite_records_what_ran_and_how_near_the_limit_it_came(tmp_path: Path):
    found = tmp_path / "results.json"
    done = pytest_of(
        tmp_path, "benchmarks/kernels/test_crc32c.py", "-k", "KiB", "--benchmark-json", str(found)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = json.loads(found.read_text())
    isas = [bench["extra_info"]["isa"] for bench in page["benchmarks"]]
    assert isas == _engine.testing.crc32c_isas()
    for bench in page["benchmarks"]:
        info = bench["extra_info"]
        assert info["group"] == "kernels/crc32c"
        assert info["variant"] == "4 KiB"
        assert info["rows"] == 4096
        assert info["value"] == pytest.approx(bench["stats"]["median"] * 1e9 / 4096)
        assert info["bytes_per_second"] == pytest.approx((16 << 20) / bench["stats"]["median"])
        assert info["limit"] == "memory bandwidth"
        probes = page["segue"]["probes"]
        percent = 100 * info["bytes_per_second"] / probes["memory_read_bytes_per_second"]
        assert info["limit_percent"] == pytest.approx(percent)
        assert kernel.LEAST_ROUNDS <= bench["stats"]["rounds"] <= kernel.MOST_ROUNDS


def test_every_suite_says_what_larger_scales_take(tmp_path: Path):
    done = pytest_of(tmp_path, "benchmarks/kernels", "--scale", "medium", "--collect-only", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    plan = done.stdout[done.stdout.index("plan: disk") :]
    for suite in Path(kernel.__file__).parent.glob("test_*.py"):
        assert f"benchmarks.kernels.{suite.stem}, " in plan


def unpack(isa: str, value: float, **info: object) -> dict[str, object]:
    shared = {"variant": "width 12", "isa": isa, "limit": "memory bandwidth", "limit_percent": 7.25}
    return entry(
        "kernels/bit-unpack", f"width 12, {isa}", value, "ns/row", rate=1e9 / value, **(shared | info)
    )


def section_of(tmp_path: Path, entries: list[dict[str, object]], *features: str) -> str:
    facts = {"cpu_features": list(features)}
    found = results.load([write(tmp_path / "results.json", entries, machine=facts)])
    return section.section(found, ["![curves](kernels.svg)"])


def test_the_section_compares_instruction_sets(tmp_path: Path):
    entries = [unpack("scalar", 0.8), unpack("avx2", 0.2, limit_percent=29.0, bytes_per_second=7.5e9)]
    text = section_of(tmp_path, entries)
    assert "### Bit unpack by width, to 32 bits" in text
    assert "![curves](kernels.svg)" in text
    spread = "500 ms to 2 s, n=3"
    rows = [line for line in text.splitlines() if line.startswith("| width 12")]
    assert rows == [
        f"| width 12 | scalar | 1.25 G rows/s | 0.8 ns |  |  | 7.2 % memory bandwidth | {spread} |",
        f"| width 12 | avx2 | 5 G rows/s | 0.2 ns | 7.5 GB/s | 4 x | 29 % memory bandwidth | {spread} |",
    ]
    assert "false positives" not in text


def test_the_section_holds_false_positives_against_theory(tmp_path: Path):
    bloom = entry(
        "kernels/bloom-false-positives",
        "10 bits a key, baseline",
        2.0,
        "ns/row",
        variant="10 bits a key",
        isa="baseline",
        false_positive_percent=1.1853,
        theory_percent=1.1901,
    )
    text = section_of(tmp_path, [bloom])
    assert "| variant | instruction set | per row | false positives | in theory | spread |" in text
    assert "| 10 bits a key | baseline | 2 ns | 1.185 % | 1.190 % |" in text


def test_the_section_names_instruction_sets_that_no_kernel_uses(tmp_path: Path):
    said = "The processor also has avx512f and avx512vbmi; no kernel measured here uses it."
    features = ("avx2", "avx512vbmi", "avx512f")
    assert said in section_of(tmp_path, [unpack("avx2", 0.2)], *features)
    assert said not in section_of(tmp_path, [unpack("avx512", 0.1)], *features)
    assert said not in section_of(tmp_path, [unpack("avx2", 0.2)], "avx2")


def test_a_kernel_of_another_suite_has_a_title_too(tmp_path: Path):
    text = section_of(tmp_path, [entry("kernels/top-k", "heap", 3.0, "ns/row")])
    assert "### Top k" in text
    assert "| heap |" in text


def test_without_kernels_the_section_says_so(tmp_path: Path):
    assert "Not measured." in section_of(tmp_path, [])
