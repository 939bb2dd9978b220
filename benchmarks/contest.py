"""The fixture `contest`: a group's alternation, run once a session and replayed into pytest-benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import (
    Contender,
    ContenderFailedError,
    Measured,
    OutputsDifferError,
    alternate,
    annotate,
)
from benchmarks.plan import scale_of
from benchmarks.targets import quantity


class ReplayClock:
    """A timer for pytest-benchmark that passes as the samples say."""

    def __init__(self) -> None:
        self.now = 0.0
        self.samples: list[float] = []
        self._next = 0

    def __call__(self) -> float:
        return self.now

    def advance(self) -> None:
        if self._next < len(self.samples):
            self.now += self.samples[self._next]
            self._next += 1


class Contest:
    """The fixture `contest` of one test; see the module's example."""

    def __init__(self, request: pytest.FixtureRequest, benchmark: Any, clock: ReplayClock) -> None:
        self._request = request
        self._benchmark = benchmark
        self._clock = clock

    def __call__(
        self,
        group: str,
        contenders: Sequence[Contender],
        contender: Contender,
        *,
        params: Mapping[str, Any] | None = None,
        unit: str = "rows/s",
        value: str | None = None,
        seconds: str | None = None,
        rounds: int | None = None,
        figures: Callable[[Mapping[str, Measured]], Mapping[str, Any]] | None = None,
        **facts: Any,
    ) -> Measured:
        """Measure the group if it is not measured yet, and record this contender's samples.

        Parameters
        ----------
        group
            Id of the row in :mod:`benchmarks.targets`.
        contenders, contender
            All of the group, and this test's.
        params
            For every contender; ``threads`` and ``scale`` are added. A contender's own params win.
        unit
            Of the row's figure: ``rows/s``, ``s``, ``ms``, ... or any other together with `value`.
        value
            Name of the figure in ``Outcome.extra`` or of the usage (``memory_anonymous``), where it does not
            follow from rows and seconds.
        seconds
            Name of the entry of ``Outcome.extra`` that holds the samples of this row, where one run answers
            several; default ``Outcome.seconds``.
        rounds
            Default: the option ``--rounds``.
        figures
            Gives further facts from the results of the whole group: a slope through its contenders.
        facts
            For ``extra_info``: durability, codec, page_cache, ...
        """
        config = self._request.config
        reason = contender.missing()
        if reason is not None:
            skipped(config).add(reason)
            pytest.skip(reason)
        scale = scale_of(config, self._request.node.nodeid)
        asked = {"threads": config.getoption("threads"), "scale": scale, **(params or {})}
        results = self._measured(contenders, asked, rounds)
        measured = results[contender.name]
        if measured.failure:
            raise ContenderFailedError(measured.failure)
        samples = measured.seconds if seconds is None else measured.samples_named(seconds)
        usage = measured.usage if seconds is None else measured.usage_named(seconds)
        said = facts.get("page_cache")
        facts["page_cache"] = said and page_cache(str(said), usage.get("read_bytes"))
        self._clock.samples = samples
        self._benchmark.group = group
        self._benchmark.pedantic(self._clock.advance, rounds=len(samples), iterations=1)
        annotate(
            self._benchmark,
            group,
            contender=contender.name,
            rows=measured.rows,
            unit=unit,
            seconds=samples,
            value=None if value is None else {**usage, **measured.extra}[value],
            options=contender.options,
            requires=contender.requires,
            role=contender.role,
            params={**asked, **contender.params},
            digest=measured.digest,
            **{
                "scale": asked["scale"],
                "threads": asked["threads"],
                **usage,
                **facts,
                **measured.extra,
                **(figures(results) if figures is not None else {}),
            },
        )
        return measured

    def _measured(
        self, contenders: Sequence[Contender], params: Mapping[str, Any], rounds: int | None
    ) -> dict[str, Measured]:
        config = self._request.config
        cache: dict[str, Any] = config.stash.setdefault(_CACHE, {})
        count = 1 if self._benchmark.disabled else rounds or config.getoption("rounds")
        chosen = [c for c in self._selected(contenders) if c.missing() is None]
        # Rows of the targets that one run answers (size and speed of one store) share its samples.
        work_of = [(c.name, c.function, dict(c.params)) for c in chosen]
        key = json.dumps([work_of, params, count], sort_keys=True, default=str)
        if key not in cache:
            work = config.getoption("work")
            try:
                cache[key] = alternate(chosen, params, count, None if work is None else Path(work))
            except OutputsDifferError as error:
                cache[key] = error
        if isinstance(cache[key], OutputsDifferError):
            raise OutputsDifferError(str(cache[key]))
        return cache[key]

    def _selected(self, contenders: Sequence[Contender]) -> list[Contender]:
        """Return the contenders whose tests were not deselected (``-k segue``)."""
        node = self._request.node
        names = {
            item.callspec.params["contender"].name
            for item in self._request.session.items
            if getattr(item, "originalname", None) == node.originalname
            and item.path == node.path
            and "contender" in getattr(getattr(item, "callspec", None), "params", {})
        }
        return [contender for contender in contenders if contender.name in names]


def page_cache(said: str, fetched: float | None) -> str:
    """Add to a suite's words on the page cache what was measured: bytes that came from storage all the same.

    >>> page_cache("warm (input mapped)", 4096)
    'warm (input mapped)'
    >>> page_cache("warm (input mapped)", 30 << 20)
    'warm (input mapped), yet 30 MiB came from storage'
    """
    if fetched is None or fetched < STRAY_BYTES:
        return said
    return f"{said}, yet {quantity(fetched, 'bytes')} came from storage"


STRAY_BYTES = 4 << 20
"""Below that it is the code of libraries."""

_CACHE = pytest.StashKey[dict[str, Any]]()
_SKIPPED = pytest.StashKey[set[str]]()


def skipped(config: pytest.Config) -> set[str]:
    """Reasons for which contenders were not measured in this session."""
    return config.stash.setdefault(_SKIPPED, set())
