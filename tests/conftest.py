"""Settings that every test shares."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Time limits per example only measure how busy the machine is. CI draws the same examples each time, so
# that a red run can be repeated; at home each run looks at new ones.
settings.register_profile("segue", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("segue")


@pytest.fixture(scope="session", autouse=True)
def _heed_ctrl_c() -> Iterator[None]:
    """Let the tests of Ctrl-C work in a suite that was started with it ignored.

    A shell without job control starts `command &` so, and CI is often such a shell; Python then
    leaves SIGINT ignored, and a test that raises it would wait for ever.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)
