"""Leases: what a reader process uses is not removed under it, and a dead reader pins nothing."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from segue import _engine
from segue.errors import CorruptionError, UnsupportedError

testing = _engine.testing


@pytest.fixture(params=["posix", "mem"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, str]:
    """A file system and the folder of a store in it."""
    if request.param == "posix":
        return testing.posix_env(), str(tmp_path)
    env = testing.MemEnv()
    env.create_dirs("store")
    return env, "store"


def test_leases_pin_until_they_are_released(place: tuple[Any, str]) -> None:
    env, store = place
    assert testing.leased_tables(store, env) == set()
    first = testing.take_lease(store, {1, 2}, env)
    second = testing.take_lease(store, {2, 3, 2**40}, env)
    assert testing.leased_tables(store, env) == {1, 2, 3, 2**40}
    first.release()
    assert testing.leased_tables(store, env) == {2, 3, 2**40}
    assert len(env.list(f"{store}/leases")) == 1
    second.release()
    assert testing.leased_tables(store, env) == set()
    assert env.list(f"{store}/leases") == []


def test_a_lease_of_nothing_is_one(place: tuple[Any, str]) -> None:
    env, store = place
    lease = testing.take_lease(store, set(), env)
    assert testing.leased_tables(store, env) == set()
    assert env.exists(lease.path)


def test_the_files_of_the_dead_are_removed(place: tuple[Any, str]) -> None:
    env, store = place
    lease = testing.take_lease(store, {7}, env)
    bytes_of_a_lease = env.read_file(lease.path)
    dead = f"{store}/leases/1-0123456789abcdef.lease"
    env.write_file_atomic(dead, bytes_of_a_lease)
    other = f"{store}/leases/README"
    env.write_file_atomic(other, b"not a lease")
    lease.release()
    assert testing.leased_tables(store, env) == set()
    assert not env.exists(dead)
    assert env.exists(other), "only leases are the writer's to remove"


def test_a_list_that_is_not_written_yet_pins_nothing(place: tuple[Any, str]) -> None:
    env, store = place
    lease = testing.take_lease(store, {7, 8}, env)
    whole = env.read_file(lease.path)
    path = f"{store}/leases/1-00000000000000aa.lease"
    lease.release()
    held = env.lock_file(path)
    for size in range(len(whole)):
        # In place, as a lease is written: a rename would leave the lock behind.
        file = env.new_writable_file(path)
        file.append(whole[:size])
        file.close()
        assert testing.leased_tables(store, env) == set()
        assert env.exists(path)
    file = env.new_writable_file(path)
    file.append(whole)
    file.close()
    assert testing.leased_tables(store, env) == {7, 8}
    held.release()
    assert testing.leased_tables(store, env) == set()


def test_a_damaged_or_newer_lease_is_an_error_while_it_is_held(place: tuple[Any, str]) -> None:
    env, store = place
    lease = testing.take_lease(store, {7, 8}, env)
    whole = env.read_file(lease.path)
    path = lease.path
    for changed, error in (
        (whole[:-1] + b"\x01", CorruptionError),
        (whole[:8] + struct.pack("<I", 2) + whole[12:], UnsupportedError),
    ):
        file = env.new_writable_file(path)
        file.append(changed)
        file.close()
        with pytest.raises(error, match="lease"):
            testing.leased_tables(store, env)
    lease.release()
    assert testing.leased_tables(store, env) == set()


def test_the_format_is_as_documented(place: tuple[Any, str]) -> None:
    env, store = place
    lease = testing.take_lease(store, {3, 260}, env)
    body = struct.pack("<QQ", 3, 260)
    assert env.read_file(lease.path) == b"SEGUELSE" + struct.pack("<IIQ", 1, testing.crc32c(body), 16) + body
    page = (Path(__file__).parents[2] / "docs" / "formats" / "lease.md").read_text()
    lines = re.findall(r"^[0-9a-f]{8}  ((?:[0-9a-f]{2} +)+)", page, re.MULTILINE)
    assert bytes.fromhex("".join(lines)) == env.read_file(lease.path)
    name = os.path.basename(lease.path)
    assert name.startswith(f"{os.getpid()}-")
    assert len(name) == len(f"{os.getpid()}-") + 16 + len(".lease")


READER = """
    import sys, time
    from segue import _engine
    lease = _engine.testing.take_lease(sys.argv[1], {4, 5})
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_reader_pins_nothing(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(READER), str(tmp_path)], stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        # A writer that is killed and starts anew finds the lease as well: it is on disk, not in memory.
        script = "import sys; from segue import _engine; print(_engine.testing.leased_tables(sys.argv[1]))"
        seen = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
        )
        assert seen.stdout == "{4, 5}\n"
        assert testing.leased_tables(str(tmp_path)) == {4, 5}
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert len(list((tmp_path / "leases").iterdir())) == 1, "the kill left its file behind"
    assert testing.leased_tables(str(tmp_path)) == set()
    assert list((tmp_path / "leases").iterdir()) == []


def test_a_forked_child_neither_keeps_nor_ends_a_lease(tmp_path: Path) -> None:
    lease = testing.take_lease(str(tmp_path), {9})
    child = os.fork()
    if child == 0:
        lease.release()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert testing.leased_tables(str(tmp_path)) == {9}
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # lives on while the parent lets go
        os.read(read, 1)
        os._exit(0)
    lease.release()
    assert testing.leased_tables(str(tmp_path)) == set()
    os.write(write, b"x")
    assert os.waitpid(child, 0)[1] == 0
    os.close(read)
    os.close(write)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_users_leases(tmp_path: Path) -> None:
    """A folder that everybody may write in takes leases of other users; the writer reads and removes them."""
    os.chmod(tmp_path, 0o755)
    for part in (tmp_path, *tmp_path.parents):
        if part != Path(part.root):
            os.chmod(part, part.stat().st_mode | 0o055)
    (tmp_path / "leases").mkdir()
    script = """
        import os, sys
        from segue import _engine, errors
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        try:
            lease = _engine.testing.take_lease(sys.argv[1], {4})
        except errors.StorageError as error:
            print("refused", error.errno)
        else:
            print(_engine.testing.leased_tables(sys.argv[1]))
    """
    run = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    refused = subprocess.run(run, capture_output=True, text=True, check=True)
    assert refused.stdout == "refused 13\n"
    os.chmod(tmp_path / "leases", 0o777)
    own = testing.take_lease(str(tmp_path), {3})
    taken = subprocess.run(run, capture_output=True, text=True, check=True)
    assert taken.stdout == "{3, 4}\n"
    assert testing.leased_tables(str(tmp_path)) == {3}
    own.release()
