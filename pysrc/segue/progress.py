"""A progress bar for long runs, which short ones never show."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

__all__ = ["RunProgress"]

#: Seconds before anything is shown.
_DELAY = 1.0


class RunProgress:
    """Shows the stages of a run on the terminal (standard error), once it has taken a second.

    `advance` may be called from any thread. Disabled, it costs nothing.
    """

    def __init__(self, title: str, enabled: bool) -> None:
        self._title = title
        self._enabled = enabled
        self._started = time.monotonic()
        self._mutex = threading.Lock()
        self._bar: Any = None
        self._task: Any = None
        self._stage: tuple[str, int | None] = ("starting", None)
        self._done = 0

    def start(self, stage: str, total: int | None) -> None:
        """Begin a stage of `total` rows; None when that is not known."""
        if not self._enabled:
            return
        with self._mutex:
            self._stage, self._done = (stage, total), 0
            if self._bar is not None:
                self._bar.update(self._task, description=self._label(), total=total, completed=0)

    def advance(self, rows: int) -> None:
        """Tell that so many more rows of the stage are done."""
        if not self._enabled:
            return
        with self._mutex:
            self._done += rows
            if self._bar is None and time.monotonic() - self._started > _DELAY:
                self._show()
            if self._bar is not None:
                self._bar.update(self._task, completed=self._done)

    def measured(self, stage: str) -> Callable[[int, int], None]:
        """Return what a call that knows how much is done, and how much is left, shows a stage with."""
        shown = -1

        def show(done: int, left: int) -> None:
            nonlocal shown
            if shown < 0:
                self.start(stage, done + left)
                shown = 0
            self.advance(done - shown)
            shown = done

        return show

    def _label(self) -> str:
        return f"{self._title}: {self._stage[0]}"

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(self._label(), total=self._stage[1], completed=self._done)
        self._bar.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._mutex:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
