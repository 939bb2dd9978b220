"""Options that several parts take, parsed in one place."""

from __future__ import annotations

import re

from .errors import BudgetError, InvalidError

__all__ = ["MINIMUM_MEMORY", "check_threads", "format_bytes", "parse_memory"]

#: Least memory budget, in bytes, with which every job finishes.
MINIMUM_MEMORY = 64 << 20

_UNITS = {"": 1, "b": 1, **{f"{p}b": 1000**i for i, p in enumerate("kmgt", 1)}}
_UNITS |= {f"{p}ib": 1 << (10 * i) for i, p in enumerate("kmgt", 1)}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_memory(memory: int | str, minimum: int = MINIMUM_MEMORY) -> int:
    """Bytes of a memory budget given as a number of bytes or as ``"1GiB"``, ``"512 MB"``.

    Raises
    ------
    InvalidError
        It is no size.
    BudgetError
        It is below `minimum`.

    Examples
    --------
    >>> from segue.options import parse_memory
    >>> parse_memory("1GiB"), parse_memory("100 MB")
    (1073741824, 100000000)
    """
    if isinstance(memory, bool) or not isinstance(memory, int | str):
        raise InvalidError(f'memory={memory!r} is no size; give bytes or a string such as "1GiB"')
    if isinstance(memory, int):
        size = memory
    else:
        match = _SIZE.fullmatch(memory)
        unit = _UNITS.get(match[2].lower()) if match else None
        if match is None or unit is None:
            raise InvalidError(
                f'memory={memory!r} is no size; give bytes or a string such as "1GiB" or "512MB"'
            )
        size = int(float(match[1]) * unit)
    if size < minimum:
        raise BudgetError(
            f"memory={memory!r} is too small; the minimum is {format_bytes(minimum)} ({minimum} bytes)"
        )
    return size


def check_threads(threads: int) -> int:
    """Give the number of threads back; `InvalidError` unless it is at least one."""
    if type(threads) is not int or threads < 1:
        raise InvalidError(f"threads={threads!r} is no number of threads; give 1 or more")
    return threads


def format_bytes(size: int) -> str:
    """Return a size for people, in binary units.

    Examples
    --------
    >>> from segue.options import format_bytes
    >>> format_bytes(64 << 20), format_bytes(1536), format_bytes(7)
    ('64 MiB', '1.5 KiB', '7 B')
    """
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if value >= 100 or value == int(value) else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")
