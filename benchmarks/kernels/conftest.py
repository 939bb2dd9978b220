"""The fixture `kernel`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kernels.kernel import Kernel


@pytest.fixture
def kernel(request: pytest.FixtureRequest, benchmark: Any, scale: str) -> Iterator[Kernel]:
    work = request.config.getoption("work")
    with tempfile.TemporaryDirectory(prefix="segue-bench-", dir=work) as directory:
        yield Kernel(benchmark, scale, Path(directory), work)
