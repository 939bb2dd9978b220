"""Group commit for asyncio: the callers of one turn of an event loop share one wait for the disk.

Threads: one object belongs to one event loop and its thread. While one commit is under way, in the
loop's default executor, the callers of all later turns gather for the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["AsyncCommits"]


class AsyncCommits:
    """Joins the waits of many coroutines into few calls of ``wait(sequence)``."""

    def __init__(self, wait: Callable[[int], None]) -> None:
        self._wait = wait
        self._gathering: asyncio.Future[None] | None = None
        self._highest = 0
        self._busy = False

    async def wait(self, sequence: int) -> None:
        """Until event ``sequence`` is durable. Being cancelled does not disturb who else waits."""
        if self._gathering is None:
            loop = asyncio.get_running_loop()
            self._gathering = loop.create_future()
            if not self._busy:
                # Not at once: the other tasks that this turn of the loop will run come along.
                loop.call_soon(self._start)
        self._highest = max(self._highest, sequence)
        await asyncio.shield(self._gathering)

    def _start(self) -> None:
        gathered = self._gathering
        if self._busy or gathered is None:
            return
        self._gathering = None
        self._busy = True
        commit = gathered.get_loop().run_in_executor(None, self._wait, self._highest)

        def finish(done: asyncio.Future[None]) -> None:
            self._busy = False
            if done.cancelled():
                gathered.cancel()
            elif (error := done.exception()) is not None:
                gathered.set_exception(error)
            else:
                gathered.set_result(None)
            self._start()

        commit.add_done_callback(finish)
