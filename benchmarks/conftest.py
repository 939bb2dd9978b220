"""Options, the fixture `contest`, the plan said beforehand, and what stands beside the results.

pip install '.[bench]' && pytest benchmarks/
pytest benchmarks/ --scale medium --benchmark-json results.json
pytest benchmarks/ --scale medium --scale-of test_billion=large --benchmark-json results.json
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks import machine, workloads
from benchmarks.contest import Contest, ReplayClock, skipped
from benchmarks.plan import SCALES, Plan, scale_of, split_scale_of

ROUNDS = {"small": 1, "medium": 3, "large": 3}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("segue benchmarks")
    group.addoption("--scale", choices=SCALES, default="small", help="1 M, 10 M or 100 M events")
    group.addoption(
        "--scale-of",
        action="append",
        default=[],
        metavar="WORD=SCALE",
        help="another scale for tests whose id holds WORD, as test_billion=large; may be repeated",
    )
    group.addoption("--threads", type=int, default=min(2, os.cpu_count() or 1), help="for every contender")
    group.addoption("--rounds", type=int, default=None, help="rounds of each contender (small 1, else 3)")
    group.addoption(
        "--work",
        default=None,
        help="directory for stores and outputs, on the disk to be measured (default: the temporary one)",
    )


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.option.rounds is None:
        config.option.rounds = ROUNDS[config.option.scale]
    for text in config.option.scale_of:
        split_scale_of(text)  # a mistake is told before anything runs
    if config.option.work is not None:
        Path(config.option.work).mkdir(parents=True, exist_ok=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        # The limit is for tests that hang; a large scale takes what it takes.
        if scale_of(config, item.nodeid) != "small":
            item.add_marker(pytest.mark.timeout(0))


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Say how much disk and time the collected suites take, before they start."""
    needs = {}
    for item in items:
        module, scale = getattr(item, "module", None), scale_of(config, item.nodeid)
        if scale in (plan := getattr(module, "PLAN", {})):
            needs[f"{module.__name__}, {scale}"] = plan[scale]
    if not needs:
        return []
    cache, work = workloads.cache_directory(), Path(config.option.work or tempfile.gettempdir())
    plan = Plan(needs, cache)
    free = min(shutil.disk_usage(directory).free for directory in (cache, work))
    if plan.disk > free:
        raise pytest.UsageError(
            f"this needs {plan.disk / 1e9:.0f} GB and {free / 1e9:.0f} GB are free in {work} and "
            f"{cache}; choose others by --work and SEGUE_BENCH_CACHE"
        )
    return [
        "plan: disk at the same time, time on two cores",
        *plan.lines(),
        f"  {free / 1e9:.0f} GB are free in {work} and {cache}",
    ]


@pytest.fixture
def scale(request: pytest.FixtureRequest) -> str:
    return scale_of(request.config, request.node.nodeid)


@pytest.fixture(scope="session")
def threads(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("threads")


@pytest.fixture
def rows(scale: str) -> int:
    return workloads.ROWS[scale]


@pytest.fixture
def contest(request: pytest.FixtureRequest) -> Contest:
    clock = ReplayClock()
    request.node.add_marker(pytest.mark.benchmark(timer=clock))  # read when the next fixture is made
    return Contest(request, request.getfixturevalue("benchmark"), clock)


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    output_json["segue"] = {
        "scale": ", ".join([config.option.scale, *config.option.scale_of]),
        "threads": config.option.threads,
        "rounds": config.option.rounds,
        "commit": machine.commit(),
        "machine": machine.facts(),
        "probes": machine.probes(config.option.work),
        "skipped": sorted(skipped(config)),
        "command": shlex.join(["pytest", *map(str, config.invocation_params.args)]),
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reasons = skipped(config)
    if reasons:
        terminalreporter.section("contenders not measured")
        for reason in sorted(reasons):
            terminalreporter.write_line(reason)
