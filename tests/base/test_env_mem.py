"""MemEnv: exactly what was synced survives, and failures come where they were ordered."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import _engine, errors

testing = _engine.testing


def write(env: Any, path: str, data: bytes, sync: bool = True) -> None:
    file = env.new_writable_file(path)
    file.append(data)
    if sync:
        file.sync()
    file.close()


def store(mapped: Any, at: int, data: bytes) -> None:
    mapped.prepare(at, at + len(data))
    mapped.store(at, data)


def new_env() -> Any:
    env = testing.MemEnv()
    env.create_dirs("db")
    env.sync_dir("")
    return env


# ---- Bytes ----


def test_only_synced_bytes_survive() -> None:
    env = new_env()
    file = env.new_writable_file("db/f")
    env.sync_dir("db")
    assert env.crash().read_file("db/f") == b""
    file.append(b"safe")
    file.sync()
    file.append(b" lost")
    assert env.read_file("db/f") == b"safe lost"
    assert env.crash("none").read_file("db/f") == b"safe"
    assert env.crash("all").read_file("db/f") == b"safe lost"


def test_a_random_crash_keeps_a_prefix_torn_anywhere() -> None:
    env = new_env()
    file = env.new_writable_file("db/f")
    env.sync_dir("db")
    file.append(b"safe")
    file.sync()
    file.append(b"12345678")
    left = {env.crash("random", seed).read_file("db/f") for seed in range(300)}
    # The size may survive where the bytes do not.
    expected = {b"safe" + b"12345678"[:n] + bytes(z) for n in range(9) for z in range(9 - n)}
    assert left <= expected
    assert {b"safe", b"safe1234", b"safe12345678"} <= left
    assert any(bytes(1) in content for content in left)


def test_the_same_seed_is_the_same_crash() -> None:
    env = new_env()
    for i in range(10):
        write(env, f"db/{i}", bytes([i]) * 1000, sync=i % 2 == 0)
    images = []
    for seed in (1, 1, 2, 3, 4):
        crashed = env.crash("random", seed)
        images.append({path: crashed.read_file(path) for path in crashed.files()})
    assert images[0] == images[1]
    assert any(image != images[0] for image in images[2:])


def test_truncation_is_not_durable_before_the_sync() -> None:
    env = new_env()
    write(env, "db/f", b"old content")
    env.sync_dir("db")
    write(env, "db/f", b"new", sync=False)
    assert env.crash("none").read_file("db/f") == b"old content"
    assert env.crash("all").read_file("db/f") == b"new"
    left = {env.crash("random", seed).read_file("db/f").rstrip(b"\0") for seed in range(100)}
    assert left == {b"old content", b"", b"n", b"ne", b"new"}


# ---- Mappings ----


def test_stores_into_a_mapping_need_a_sync_of_just_those_bytes() -> None:
    env = new_env()
    mapped = env.new_mapped_file("db/m", 8192)
    env.sync_dir("db")
    assert env.crash("none").file_size("db/m") == 0  # not even the size was synced
    store(mapped, 0, b"aaaa")
    store(mapped, 4096, b"bbbb")
    mapped.sync(4096, 4098)
    assert env.crash("none").read_file("db/m") == bytes(4096) + b"bb" + bytes(4094)
    # A killed process loses nothing: its stores are in the file already.
    assert env.read_file("db/m")[:4] == b"aaaa"
    assert env.crash("all").read_file("db/m") == b"aaaa" + bytes(4092) + b"bbbb" + bytes(4092)


def test_a_sync_of_what_was_written_is_none_of_what_was_stored() -> None:
    env = new_env()
    mapped = env.new_mapped_file("db/m", 8192)
    env.sync_dir("db")
    store(mapped, 0, b"aaaa")
    mapped.write(4096, b"bb", b"cc")
    mapped.sync_written()
    assert env.crash("none").read_file("db/m") == bytes(4096) + b"bbcc" + bytes(4092)
    mapped.write(4098, b"d", b"d")
    assert env.crash("none").read_file("db/m")[4096:4100] == b"bbcc"


def test_a_random_crash_keeps_whole_sectors_of_a_mapping() -> None:
    env = new_env()
    mapped = env.new_mapped_file("db/m", 4096)
    env.sync_dir("db")
    store(mapped, 0, b"o" * 4096)
    mapped.sync(0, 4096)
    store(mapped, 512, b"n" * 2048)
    seen = set()
    for seed in range(200):
        content = env.crash("random", seed).read_file("db/m")
        sectors = tuple(content[at : at + 512] for at in range(0, 4096, 512))
        assert all(s in (b"o" * 512, b"n" * 512) for s in sectors)
        assert sectors[0] == b"o" * 512
        assert set(sectors[5:]) == {b"o" * 512}
        seen.add(sectors)
    assert len(seen) == 16


def test_a_dead_process_stores_nothing() -> None:
    env = new_env()
    mapped = env.new_mapped_file("db/m", 4096)
    env.sync_dir("db")
    store(mapped, 0, b"before")
    env.set_crash_at(env.op_count() + 1)
    with pytest.raises(errors.StorageError):
        mapped.sync(0, 4096)
    with pytest.raises(errors.StorageError):
        mapped.store(100, b"after")
    assert env.crash("all").read_file("db/m").rstrip(b"\0") == b"before"
    assert env.crash("none").file_size("db/m") == 0


def test_a_mapped_file_cannot_be_truncated_or_resized_by_another() -> None:
    env = new_env()
    mapped = env.new_mapped_file("db/m", 4096)
    for call in (lambda: env.new_writable_file("db/m"), lambda: env.new_mapped_file("db/m", 8192)):
        with pytest.raises(errors.StorageError) as caught:
            call()
        assert caught.value.errno == errno.EBUSY
    second = env.new_mapped_file("db/m", 4096)
    store(second, 0, b"x")
    assert mapped.load(0, 1) == b"x"


# ---- Names ----


def test_names_need_a_sync_of_their_folder() -> None:
    env = testing.MemEnv()
    env.create_dirs("db/events")
    write(env, "db/events/f", b"x")
    assert env.crash("none").files() == []
    env.sync_dir("db/events")
    assert env.crash("none").files() == []  # the folders themselves are not there
    env.sync_dir("")
    assert env.crash("none").files() == []
    env.sync_dir("db")
    assert env.crash("none").files() == ["db/events/f"]
    assert env.crash("none").read_file("db/events/f") == b"x"


def test_renames_and_removals_need_a_sync_of_their_folder() -> None:
    env = new_env()
    write(env, "db/a", b"a")
    write(env, "db/b", b"b")
    env.sync_dir("db")
    env.rename("db/a", "db/b")
    assert env.files() == ["db/b"]
    before = env.crash("none")
    assert {p: before.read_file(p) for p in before.files()} == {"db/a": b"a", "db/b": b"b"}
    env.sync_dir("db")
    after = env.crash("none")
    assert {p: after.read_file(p) for p in after.files()} == {"db/b": b"a"}
    env.remove("db/b")
    assert env.crash("none").files() == ["db/b"]
    assert env.crash("all").files() == []


def test_a_random_crash_keeps_the_first_few_changes_of_a_folder() -> None:
    env = new_env()
    for name in "abcd":
        write(env, f"db/{name}", b"")
    env.remove("db/a")
    prefixes = [[], ["a"], ["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"], ["b", "c", "d"]]
    expected = {tuple(f"db/{name}" for name in names) for names in prefixes}
    left = {tuple(env.crash("random", seed).files()) for seed in range(200)}
    assert left == expected


def test_a_move_between_folders_is_atomic() -> None:
    env = testing.MemEnv()
    for name in ("a", "b"):
        env.create_dirs(name)
    env.sync_dir("")
    write(env, "a/x", b"x")
    env.rename("a/x", "b/x")
    write(env, "a/y", b"y")
    for seed in range(100):
        files = env.crash("random", seed).files()
        assert files in ([], ["a/x"], ["b/x"], ["a/y", "b/x"]), files
    env.sync_dir("b")
    assert env.crash("none").files() == ["b/x"]


def test_folders_move_with_what_is_in_them() -> None:
    env = new_env()
    env.create_dirs("db/t")
    write(env, "db/t/f", b"f")
    env.sync_dir("db/t")
    env.sync_dir("db")
    env.rename("db/t", "db/dropped")
    assert env.files() == ["db/dropped/f"]
    assert env.crash("none").files() == ["db/t/f"]
    env.sync_dir("db")
    assert env.crash("none").files() == ["db/dropped/f"]


# ---- Ordered failures ----

Step = Callable[[Any, dict[str, Any]], object]
STEPS: list[tuple[str, Step]] = [
    ("mkdir x/y", lambda env, h: env.create_dirs("x")),
    ("syncdir", lambda env, h: env.sync_dir("")),
    ("create x/f", lambda env, h: h.update(f=env.new_writable_file("x/f"))),
    ("append x/f", lambda env, h: h["f"].append(b"12345678")),
    ("sync x/f", lambda env, h: h["f"].sync()),
    ("rename x/f", lambda env, h: env.rename("x/f", "x/g")),
    ("syncdir x", lambda env, h: env.sync_dir("x")),
    ("map x/m", lambda env, h: h.update(m=env.new_mapped_file("x/m", 4096))),
    ("msync x/m", lambda env, h: h["m"].sync(0, 4096)),
    ("remove x/g", lambda env, h: env.remove("x/g")),
    ("prepare x/m", lambda env, h: h["m"].prepare(0, 4096)),
    ("store x/m", lambda env, h: h["m"].store(0, b"x")),
    ("write x/m", lambda env, h: h["m"].write(0, b"x", b"y")),
    ("fdatasync x/m", lambda env, h: h["m"].sync_written()),
]


def test_every_change_has_a_number() -> None:
    env = testing.MemEnv()
    handles: dict[str, Any] = {}
    for number, (_, step) in enumerate(STEPS, start=1):
        assert env.op_count() == number - 1
        step(env, handles)
        assert env.op_count() == number
    verbs = [env.op(n).split()[0] for n in range(1, len(STEPS) + 1)]
    assert verbs == [name.split()[0] for name, _ in STEPS]
    assert env.op(0) == env.op(len(STEPS) + 1) == ""
    env.exists("x/m")
    env.read_file("x/m")
    env.list("x")
    env.lock_file("x/LOCK").release()
    assert env.op_count() == len(STEPS)


@pytest.mark.parametrize("at", range(1, len(STEPS) + 1))
def test_one_ordered_failure(at: int) -> None:
    env = testing.MemEnv()
    env.set_fail_at(at, errno.ENOSPC)
    handles: dict[str, Any] = {}
    for number, (_, step) in enumerate(STEPS, start=1):
        if number != at:
            step(env, handles)
            continue
        before = env.files()
        with pytest.raises(errors.StorageError) as caught:
            step(env, handles)
        assert caught.value.errno == errno.ENOSPC
        assert env.files() == before
        assert not env.crashed
        step(env, handles)  # only the nth fails


@pytest.mark.parametrize("at", range(1, len(STEPS) + 1))
def test_after_the_crash_everything_fails(at: int) -> None:
    env = testing.MemEnv()
    env.set_crash_at(at)
    handles: dict[str, Any] = {}
    for number, (_, step) in enumerate(STEPS, start=1):
        if number < at:
            step(env, handles)
            continue
        opened = ("f" in handles or number < 4 or number == 6) and (
            "m" in handles or number not in (9, 11, 12, 13, 14)
        )
        if number > at and opened:
            with pytest.raises(errors.StorageError) as caught:
                step(env, handles)
            assert caught.value.errno == errno.EIO
        elif number == at:
            with pytest.raises(errors.StorageError) as caught:
                step(env, handles)
            assert caught.value.errno == errno.EIO
            assert env.crashed
    assert env.op_count() == at
    for call in (
        lambda: env.exists("x"),
        lambda: env.list("x"),
        lambda: env.read_file("x/f"),
        lambda: env.file_size("x/f"),
        lambda: env.new_random_access_file("x/f"),
        lambda: env.lock_file("x/LOCK"),
    ):
        with pytest.raises(errors.StorageError) as caught:
            call()
        assert caught.value.errno == errno.EIO
    again = env.crash("all")
    assert not again.crashed
    again.create_dirs("x")
    again.lock_file("x/LOCK")


def test_the_operation_cut_off_may_or_may_not_have_happened() -> None:
    env = new_env()
    write(env, "db/a", b"a")
    env.sync_dir("db")
    env.set_crash_at(env.op_count() + 1)
    with pytest.raises(errors.StorageError):
        env.rename("db/a", "db/b")
    assert env.crash("none").files() == ["db/a"]
    assert env.crash("all").files() == ["db/b"]
    assert {tuple(env.crash("random", seed).files()) for seed in range(20)} == {("db/a",), ("db/b",)}


def test_a_crash_in_a_call_that_could_not_work_anyway_is_a_crash() -> None:
    env = new_env()
    env.set_crash_at(env.op_count() + 1)
    with pytest.raises(errors.StorageError):
        env.rename("db/absent", "db/b")
    assert env.crashed


def test_a_short_write_leaves_the_first_half() -> None:
    env = new_env()
    file = env.new_writable_file("db/f")
    env.set_fail_at(env.op_count() + 1, errno.ENOSPC, short_write=True)
    with pytest.raises(errors.StorageError):
        file.append(b"12345678")
    assert env.read_file("db/f") == b"1234"


def test_after_a_failed_sync_the_next_one_lies() -> None:
    """As on Linux: whoever tries again is told yes and loses the data."""
    env = new_env()
    file = env.new_writable_file("db/f")
    mapped = env.new_mapped_file("db/m", 4096)
    env.sync_dir("db")
    file.append(b"data")
    store(mapped, 0, b"data")
    for sync in (file.sync, lambda: mapped.sync(0, 4096)):
        env.set_fail_at(env.op_count() + 1, errno.EIO)
        with pytest.raises(errors.StorageError):
            sync()
        sync()
    crashed = env.crash("none")
    assert crashed.read_file("db/f") == b""
    assert crashed.read_file("db/m") == b""


def test_a_crash_frees_locks_and_is_independent() -> None:
    env = new_env()
    lock = env.lock_file("db/LOCK")
    write(env, "db/f", b"one")
    copy = env.crash("all")
    copy.lock_file("db/LOCK")
    write(copy, "db/f", b"two")
    assert env.read_file("db/f") == b"one"
    with pytest.raises(errors.LockedError):
        env.lock_file("./db//LOCK")
    lock.release()


def test_raw_access_for_tests_is_synced_and_not_counted() -> None:
    env = new_env()
    before = env.op_count()
    env.write_raw("db/deep/er/f", b"damage")
    assert env.op_count() == before
    assert env.crash("none").read_raw("db/deep/er/f") == b"damage"
    with pytest.raises(errors.StorageError):
        env.read_raw("db/absent")
    with pytest.raises(errors.StorageError):
        env.write_raw("db/deep/er/f/below", b"")
    with pytest.raises(errors.InvalidError):
        env.new_writable_file("db/../f")


def test_threads_get_different_numbers() -> None:
    env = new_env()
    before = env.op_count()

    def work(name: str) -> None:
        file = env.new_writable_file(f"db/{name}")
        for _ in range(200):
            file.append(b"x")
        file.sync()

    threads = [threading.Thread(target=work, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert env.op_count() == before + 4 * 202
    assert all(env.file_size(f"db/{i}") == 200 for i in range(4))


# ---- Against a plain model ----

NAMES = st.sampled_from("abc")
ACTIONS = st.one_of(
    st.tuples(st.just("write"), NAMES, st.binary(max_size=6)),
    st.tuples(st.just("append"), NAMES, st.binary(max_size=6)),
    st.tuples(st.just("sync"), NAMES),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.just("syncdir")),
)


class ModelFile:
    def __init__(self) -> None:
        self.now = b""
        self.saved = b""
        self.changed = False


@settings(max_examples=300, deadline=None)
@given(st.lists(ACTIONS, max_size=40))
def test_equals_a_model_of_what_is_durable(actions: list[tuple[Any, ...]]) -> None:
    env = new_env()
    now: dict[str, ModelFile] = {}
    saved: dict[str, ModelFile] = {}
    handles: dict[str, tuple[Any, ModelFile]] = {}
    for action in actions:
        match action:
            case ("write", name, data):
                handle = env.new_writable_file(f"db/{name}")
                file = now.setdefault(name, ModelFile())
                handle.append(data)
                file.now = data
                file.changed = True
                # Handles of an earlier opening would write behind the truncation: drop them.
                handles = {n: h for n, h in handles.items() if h[1] is not file}
                handles[name] = (handle, file)
            case ("append", name, data) if name in handles:
                handles[name][0].append(data)
                handles[name][1].now += data
                handles[name][1].changed = True
            case ("sync", name) if name in handles:
                handles[name][0].sync()
                handles[name][1].saved = handles[name][1].now
                handles[name][1].changed = False
            case ("rename", old, new) if old in now:
                env.rename(f"db/{old}", f"db/{new}")
                now[new] = now.pop(old)
            case ("remove", name) if name in now:
                env.remove(f"db/{name}")
                del now[name]
            case ("syncdir",):
                env.sync_dir("db")
                saved = dict(now)
    assert {p: env.read_file(p) for p in env.files()} == {f"db/{n}": f.now for n, f in now.items()}
    none = env.crash("none")
    assert {p: none.read_file(p) for p in none.files()} == {f"db/{n}": f.saved for n, f in saved.items()}
    kept = env.crash("all")
    assert {p: kept.read_file(p) for p in kept.files()} == {f"db/{n}": f.now for n, f in now.items()}
    # What is synced, bytes and name, and not changed since, survives every crash.
    for seed in range(3):
        some = env.crash("random", seed)
        for name, file in now.items():
            if now == saved and not file.changed:
                assert some.read_file(f"db/{name}") == file.now
    # A second crash right after loses nothing more.
    again = none.crash("none")
    assert again.files() == none.files()
