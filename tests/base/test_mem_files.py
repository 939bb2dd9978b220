"""Files of the in-memory file system: stores that a crash tears, holes, and a disk that is full."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from segue import _engine, errors

testing = _engine.testing
PAGE = 4096


def mapped_file(env: Any, size: int = 4 * PAGE) -> Any:
    env.create_dirs("db")
    mapped = env.new_mapped_file("db/m", size)
    mapped.prepare(0, size)
    mapped.sync(0, size)
    env.sync_dir("")
    env.sync_dir("db")
    return mapped


def words(content: bytes) -> list[bytes]:
    return [content[at : at + 8] for at in range(0, len(content), 8)]


def torn_by(change: Any, size: int = 64, at: int = 8) -> set[tuple[bool, ...]]:
    """Which words of a change of `size` bytes at `at` there may be when it was cut off."""
    env = testing.MemEnv()
    mapped = mapped_file(env)
    mapped.store(at, b"o" * size)
    mapped.sync(0, PAGE)
    env.set_crash_at(env.op_count() + 1)
    with pytest.raises(errors.StorageError):
        change(mapped, at, b"n" * size)
    seen = set()
    for seed in range(300):
        content = env.crash("all", seed).read_file("db/m")
        assert content[:at].strip(b"\0") == content[at + size :].strip(b"\0") == b""
        found = words(content[at : at + size])
        assert set(found) <= {b"o" * 8, b"n" * 8}, "half a word"
        seen.add(tuple(word == b"n" * 8 for word in found))
    assert env.crash("none").read_file("db/m")[at : at + size] == b"o" * size
    return seen


@pytest.mark.parametrize("way", ["store", "write"])
def test_a_crash_leaves_any_words_of_what_it_cuts_off(way: str) -> None:
    changes = {
        "store": lambda mapped, at, data: mapped.store(at, data),
        "write": lambda mapped, at, data: mapped.write(at, data, b""),
    }
    seen = torn_by(changes[way])
    assert (False,) * 8 in seen
    assert (True,) * 8 in seen
    assert (True,) * 5 + (False,) * 3 in seen, "the first few"
    assert (False,) + (True,) * 7 in seen, "all but the first"
    assert len(seen) > 50


def test_the_same_seed_tears_the_same_way() -> None:
    env = testing.MemEnv()
    mapped = mapped_file(env)
    env.set_crash_at(env.op_count() + 1)
    with pytest.raises(errors.StorageError):
        mapped.store(0, b"n" * 512)
    for keep in ("all", "random"):
        contents = [[env.crash(keep, seed).read_file("db/m") for seed in range(10)] for _ in range(2)]
        assert contents[0] == contents[1]


def test_only_the_store_that_was_cut_off_is_torn() -> None:
    env = testing.MemEnv()
    mapped = mapped_file(env)
    mapped.store(0, b"a" * 64)
    env.set_crash_at(env.op_count() + 1)
    with pytest.raises(errors.StorageError):
        mapped.store(64, b"b" * 64)
    for seed in range(50):
        content = env.crash("all", seed).read_file("db/m")
        assert content[:64] == b"a" * 64
        assert set(content[64:128]) <= set(b"\0b")


def test_a_store_that_fails_went_to_nowhere() -> None:
    env = testing.MemEnv()
    mapped = mapped_file(env)
    mapped.store(0, b"a" * 8)
    env.set_fail_at(env.op_count() + 1, errno.EIO)
    with pytest.raises(errors.StorageError) as caught:
        mapped.store(0, b"b" * 8)
    assert caught.value.errno == errno.EIO
    assert env.read_file("db/m")[:8] == b"a" * 8
    mapped.sync(0, PAGE)
    assert env.crash("none").read_file("db/m")[:8] == bytes(8), "nor does a sync save anything now"


def test_stores_want_to_be_prepared() -> None:
    env = testing.MemEnv()
    env.create_dirs("db")
    mapped = env.new_mapped_file("db/m", PAGE)
    with pytest.raises(errors.InvalidError, match="prepared"):
        mapped.store(0, b"x")


def test_a_hole_reads_as_zeros_and_is_not_synced() -> None:
    env = testing.MemEnv()
    mapped = mapped_file(env)
    mapped.store(0, b"x" * (4 * PAGE))
    mapped.sync(0, 4 * PAGE)
    del mapped
    env.release_tail("db/m", PAGE + 1)
    assert env.op(env.op_count()) == "release db/m"
    released = b"x" * (2 * PAGE) + bytes(2 * PAGE)
    assert env.read_file("db/m") == env.crash("all").read_file("db/m") == released, "whole pages only"
    assert env.crash("none").read_file("db/m") == b"x" * (4 * PAGE), "power loss may bring the blocks back"
    some = {env.crash("random", seed).read_file("db/m") for seed in range(30)}
    assert len(some) > 5
    assert all(content[: 2 * PAGE] == b"x" * (2 * PAGE) for content in some)
    env.release_tail("db/m", 5 * PAGE)
    env.release_tail("db/absent", 0)
    assert env.read_file("db/m") == released


def test_a_hole_that_cannot_be_made_is_none() -> None:
    env = testing.MemEnv()
    mapped_file(env).store(2 * PAGE, b"x")
    env.set_fail_at(env.op_count() + 1, errno.EIO)
    env.release_tail("db/m", PAGE)
    assert env.read_file("db/m")[2 * PAGE : 2 * PAGE + 1] == b"x"


def test_a_disk_of_so_many_bytes() -> None:
    env = testing.MemEnv()
    env.create_dirs("db")
    file = env.new_writable_file("db/a")
    file.append(b"x" * 100)
    env.set_capacity(130)
    file.append(b"x" * 20)
    with pytest.raises(errors.StorageError) as caught:
        file.append(b"y" * 20)
    assert caught.value.errno == errno.ENOSPC
    assert env.read_file("db/a")[-11:] == b"x" + b"y" * 10, "what fits is there"
    with pytest.raises(errors.StorageError):
        env.new_mapped_file("db/m", 10)
    other = env.new_writable_file("db/b")
    env.remove("db/a")
    other.append(b"z" * 130)
    assert env.used == 130
    env.set_capacity(None)
    other.append(b"z" * 1000)
