"""Settings that every test shares."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Time limits per example only measure how busy the machine is. CI draws the same examples each time, so
# that a red run can be repeated; at home each run looks at new ones.
settings.register_profile("segue", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("segue")


@pytest.fixture(scope="session", autouse=True)
def _temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give whoever asks the system for a temporary folder one that goes with this run.

    Processes that tests start, and kill, cannot remove theirs, and each event table takes 64 MiB.
    """
    tmp_path_factory.getbasetemp()  # pytest's own stay where they are looked for
    folder = tempfile.mkdtemp(prefix="segue-tests-")
    os.chmod(folder, 0o1777)  # as the system's own: a test runs processes as another user
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield
    shutil.rmtree(folder)


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
