"""Env: what the file system and its double in memory have to do alike, then the real one's own."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from segue import _engine, errors

testing = _engine.testing


@pytest.fixture(params=["posix", "mem"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, str]:
    """A file system and an empty folder in it."""
    if request.param == "posix":
        return testing.posix_env(), str(tmp_path)
    env = testing.MemEnv()
    env.create_dirs("root")
    return env, "root"


def run_python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def as_nobody(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Runs `code` as a user whom permissions bind, also when the tests run as root."""
    drop = "import os\nfrom segue import _engine, errors\n"
    if os.geteuid() == 0:
        drop += "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    return run_python(drop + textwrap.dedent(code), *args)


# ---- Alike in both ----


def test_append_and_read_back(place: tuple[Any, str]) -> None:
    env, root = place
    path = f"{root}/file"
    file = env.new_writable_file(path)
    file.append(b"hello ")
    file.write_back()
    file.append(b"")
    file.append(b"world")
    file.sync()
    file.close()
    file.close()
    assert env.read_file(path) == b"hello world"
    assert env.file_size(path) == 11
    reader = env.new_random_access_file(path)
    assert reader.size == 11
    assert reader.read(6, 5) == b"world"
    assert reader.read(11, 0) == b""
    with pytest.raises(errors.CorruptionError, match="too short") as caught:
        reader.read(6, 6)
    assert (caught.value.path, caught.value.offset) == (path, 6)


def test_a_closed_file_says_so(place: tuple[Any, str]) -> None:
    env, root = place
    file = env.new_writable_file(f"{root}/file")
    file.close()
    with pytest.raises(errors.ClosedError):
        file.append(b"x")
    with pytest.raises(errors.ClosedError):
        file.sync()


def test_a_new_writable_file_truncates(place: tuple[Any, str]) -> None:
    env, root = place
    env.write_file_atomic(f"{root}/file", b"long content")
    env.new_writable_file(f"{root}/file").close()
    assert env.read_file(f"{root}/file") == b""


def test_atomic_replacement_leaves_no_temporary(place: tuple[Any, str]) -> None:
    env, root = place
    env.write_file_atomic(f"{root}/file", b"one")
    env.write_file_atomic(f"{root}/file", b"two")
    assert env.read_file(f"{root}/file") == b"two"
    assert env.list(root) == ["file"]


def test_mapped_bytes_reach_the_file(place: tuple[Any, str]) -> None:
    env, root = place
    path = f"{root}/map"
    mapped = env.new_mapped_file(path, 10_000)
    assert mapped.size == env.file_size(path) == 10_000
    mapped.prepare(0, 10_000)
    assert mapped.load(0, 10_000) == bytes(10_000)
    mapped.store(4090, b"across pages")
    mapped.write(8000, b"by a", b" call")
    assert mapped.load(8000, 9) == env.new_random_access_file(path).read(8000, 9) == b"by a call"
    with pytest.raises(errors.InvalidError, match="9997"):
        mapped.write(9997, b"ab", b"cd")
    # Seen by readers at once, before any sync.
    assert env.new_random_access_file(path).read(4090, 12) == b"across pages"
    mapped.sync(4090, 4102)
    mapped.sync(0, 10_000)
    mapped.sync(10_000, 10_000)
    mapped.sync_written()
    with pytest.raises(errors.InvalidError):
        mapped.sync(0, 10_001)
    with pytest.raises(errors.InvalidError):
        mapped.prepare(5, 4)
    del mapped
    # Reused: keeps its bytes, grows and shrinks to the size asked for.
    assert env.new_mapped_file(path, 20_000).load(4090, 12) == b"across pages"
    assert env.file_size(path) == 20_000
    assert env.new_mapped_file(path, 5_000).load(4090, 12) == b"across pages"
    assert env.file_size(path) == 5_000
    with pytest.raises(errors.InvalidError, match="impossible"):
        env.new_mapped_file(path, 0)


def test_folders(place: tuple[Any, str]) -> None:
    env, root = place
    env.create_dirs(f"{root}/a/b/c")
    env.create_dirs(f"{root}/a/b/c")
    env.create_dirs(f"{root}/a/")
    env.sync_dir(root)
    assert env.list(root) == ["a"]
    for name in ("z", "k", "é"):
        env.write_file_atomic(f"{root}/a/{name}", b"")
    assert env.list(f"{root}/a") == ["b", "k", "z", "é"]
    with pytest.raises(errors.StorageError) as caught:
        env.create_dirs(f"{root}/a/z/below-a-file")
    assert caught.value.errno == errno.ENOTDIR
    with pytest.raises(errors.StorageError):
        env.create_dirs(f"{root}/a/z")
    with pytest.raises(errors.StorageError) as caught:
        env.remove(f"{root}/a")
    assert caught.value.errno == errno.ENOTEMPTY
    env.remove(f"{root}/a/b/c")
    assert env.list(f"{root}/a/b") == []


def test_rename_and_remove(place: tuple[Any, str]) -> None:
    env, root = place
    env.create_dirs(f"{root}/other")
    env.write_file_atomic(f"{root}/one", b"1")
    env.write_file_atomic(f"{root}/two", b"2")
    env.rename(f"{root}/one", f"{root}/two")
    assert env.read_file(f"{root}/two") == b"1"
    env.rename(f"{root}/two", f"{root}/other/three")
    env.rename(f"{root}/other/three", f"{root}/other/three")
    assert env.list(root) == ["other"]
    assert env.exists(f"{root}/other/three")
    assert not env.exists(f"{root}/two")
    assert not env.exists(f"{root}/two/deeper")
    env.remove(f"{root}/other/three")
    assert not env.exists(f"{root}/other/three")
    for call in (
        lambda: env.remove(f"{root}/two"),
        lambda: env.rename(f"{root}/two", f"{root}/x"),
        lambda: env.new_random_access_file(f"{root}/two"),
        lambda: env.read_file(f"{root}/two"),
        lambda: env.file_size(f"{root}/two"),
        lambda: env.list(f"{root}/two"),
        lambda: env.sync_dir(f"{root}/two"),
    ):
        with pytest.raises(errors.StorageError) as caught:
            call()
        assert caught.value.errno == errno.ENOENT
        assert caught.value.filename == f"{root}/two"


def test_a_file_outlives_its_name(place: tuple[Any, str]) -> None:
    env, root = place
    env.write_file_atomic(f"{root}/file", b"bytes")
    reader = env.new_random_access_file(f"{root}/file")
    env.remove(f"{root}/file")
    assert reader.read(0, 5) == b"bytes"


def test_a_folder_is_no_file(place: tuple[Any, str]) -> None:
    env, root = place
    for call in (env.new_random_access_file, env.new_writable_file, env.read_file):
        with pytest.raises(errors.StorageError) as caught:
            call(root)
        assert caught.value.errno == errno.EISDIR


def test_lock_holds_between_handles_of_one_process(place: tuple[Any, str]) -> None:
    env, root = place
    lock = env.lock_file(f"{root}/LOCK")
    with pytest.raises(errors.LockedError, match=rf"this process \(process {os.getpid()}\)"):
        env.lock_file(f"{root}/LOCK")
    other = env.lock_file(f"{root}/LOCK2")
    lock.release()
    env.lock_file(f"{root}/LOCK").release()
    other.release()
    lock = env.lock_file(f"{root}/LOCK")
    del lock  # released with its last reference
    env.lock_file(f"{root}/LOCK")


def test_a_file_is_removed_only_while_nobody_has_it_locked(place: tuple[Any, str]) -> None:
    env, root = place
    path = f"{root}/LOCK"
    assert env.remove_unlocked(path), "gone already"
    assert not env.exists(path), "it never makes the file"
    lock = env.lock_file(path)
    assert not env.remove_unlocked(path)
    assert env.exists(path)
    lock.release()
    assert env.remove_unlocked(path)
    assert not env.exists(path)
    env.lock_file(path).release()


# ---- The real file system ----

HOLD = """
    import sys, time
    from segue import _engine
    lock = _engine.testing.posix_env().lock_file(sys.argv[1])
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_names_the_other_process_and_its_command(tmp_path: Path) -> None:
    path = str(tmp_path / "LOCK")
    script = tmp_path / "nightly_ingest.py"
    script.write_text(textwrap.dedent(HOLD))
    env = testing.posix_env()
    with subprocess.Popen([sys.executable, str(script), path], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(errors.LockedError) as caught:
                env.lock_file(path)
        finally:
            holder.kill()
    assert f"process {holder.pid}" in str(caught.value)
    if sys.platform == "linux":
        assert "nightly_ingest.py" in str(caught.value)
    assert 'mode="r"' in str(caught.value)
    env.lock_file(path).release()  # the system let go of it


def test_a_forked_child_holds_no_lock(tmp_path: Path) -> None:
    """Killed with a child still running, the parent's lock is free; the child's exit frees nothing."""
    code = """
        import os, sys, time
        from segue import _engine
        env = _engine.testing.posix_env()
        lock = env.lock_file(sys.argv[1])
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            lock.release()                      # not the child's to release
            os.write(write, b"x")
            os.close(1); os.close(2)
            time.sleep(20)
            os._exit(0)
        os.read(read, 1)
        try:
            env.lock_file(sys.argv[1])
        except OSError as error:
            print("still", type(error).__name__, child, flush=True)
        os.kill(os.getpid(), 9)
    """
    done = run_python(code, str(tmp_path / "LOCK"))
    assert done.returncode == -signal.SIGKILL, done.stderr
    word, name, child = done.stdout.split()
    try:
        assert (word, name) == ("still", "LockedError")
        testing.posix_env().lock_file(str(tmp_path / "LOCK")).release()
    finally:
        os.kill(int(child), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "_Fork"), reason="needs a fork that runs no handlers")
def test_a_lock_given_up_is_free_while_a_child_is_being_started(tmp_path: Path) -> None:
    """Such a child has a copy of the descriptor until it executes its program."""
    env, path = testing.posix_env(), str(tmp_path / "LOCK")
    lock = env.lock_file(path)
    child = ctypes.PyDLL(None)._Fork()
    if child == 0:
        signal.pause()
    try:
        with pytest.raises(errors.LockedError):
            env.lock_file(path)
        lock.release()
        env.lock_file(path).release()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_stores_survive_a_killed_process(tmp_path: Path) -> None:
    code = """
        import os, sys
        from segue import _engine
        mapped = _engine.testing.posix_env().new_mapped_file(sys.argv[1], 65536)
        mapped.store(5000, b"not synced")
        os.kill(os.getpid(), 9)
    """
    path = tmp_path / "map"
    assert run_python(code, str(path)).returncode == -signal.SIGKILL
    assert path.read_bytes()[5000:5010] == b"not synced"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    env = testing.posix_env()
    for call in (env.new_writable_file, lambda p: env.new_mapped_file(p, 4096), env.lock_file):
        with pytest.raises(errors.StorageError) as caught:
            call(str(tmp_path / "no" / "such" / "file"))
        assert caught.value.errno == errno.ENOENT
        assert f"the folder {tmp_path / 'no'} does not exist" in str(caught.value)


def test_a_read_only_folder_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    for parent in (folder, *folder.parents):  # pytest's folders are the owner's alone
        if parent == Path("/") or parent.stat().st_uid != os.geteuid():
            break
        parent.chmod(parent.stat().st_mode | 0o055)
    code = """
        import errno, sys
        env = _engine.testing.posix_env()
        map_file = lambda path: env.new_mapped_file(path, 4096)
        for call in (env.new_writable_file, map_file, env.lock_file, env.create_dirs):
            try:
                call(sys.argv[1] + "/new")
            except errors.StorageError as error:
                assert isinstance(error, OSError)
                assert error.errno == errno.EACCES, error
                assert error.filename == sys.argv[1] + "/new"
                print(error)
            else:
                raise SystemExit("the read-only folder took a file")
    """
    done = as_nobody(code, str(folder))
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"user id \d+ may not do that here", done.stdout)) == 4


def test_a_full_disk_is_an_error_at_creation_and_gives_the_space_back(tmp_path: Path) -> None:
    """As with a file size limit here: no file is left, and no SIGBUS comes later."""
    code = """
        import errno, os, resource, signal, sys
        from segue import _engine, errors
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        env = _engine.testing.posix_env()
        fits = env.new_mapped_file(sys.argv[1] + "/fits", 1 << 20)
        del fits
        for name in ("new", "fits"):
            try:
                env.new_mapped_file(sys.argv[1] + "/" + name, 1 << 21)
            except errors.StorageError as error:
                assert error.errno in (errno.EFBIG, errno.ENOSPC), error
                assert "allocate space" in str(error), error
            else:
                raise SystemExit("no error")
        assert os.listdir(sys.argv[1]) == ["fits"]
        assert os.path.getsize(sys.argv[1] + "/fits") == 1 << 20
        file = env.new_writable_file(sys.argv[1] + "/file")
        try:
            file.append(bytes(1 << 21))
        except errors.StorageError as error:
            assert error.errno == errno.EFBIG, error
        else:
            raise SystemExit("no error")
    """
    done = run_python(code, str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_no_space_on_a_device_is_said() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    file = testing.posix_env().new_writable_file("/dev/full")
    with pytest.raises(errors.StorageError) as caught:
        file.append(b"x")
    assert caught.value.errno == errno.ENOSPC
    assert "free some space" in str(caught.value)


def test_an_appended_file_may_be_larger_than_one_write(tmp_path: Path) -> None:
    """A signal handler interrupts, appends go on."""
    code = """
        import signal, sys
        from segue import _engine
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        env = _engine.testing.posix_env()
        file = env.new_writable_file(sys.argv[1])
        block = bytes(range(256)) * 4096
        for _ in range(20):
            file.append(block)
            file.write_back()
        file.sync()
        file.close()
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert env.read_file(sys.argv[1]) == block * 20
    """
    done = run_python(code, str(tmp_path / "file"))
    assert done.returncode == 0, done.stderr


def test_sync_does_not_hold_the_interpreter(tmp_path: Path) -> None:
    """Another thread appends while one syncs: both finish, and nothing is lost."""
    import threading

    env = testing.posix_env()
    mapped = env.new_mapped_file(str(tmp_path / "map"), 1 << 20)
    stop = time.monotonic() + 0.3

    def sync() -> None:
        while time.monotonic() < stop:
            mapped.sync(0, 1 << 20)

    thread = threading.Thread(target=sync)
    thread.start()
    at = 0
    while time.monotonic() < stop and at < 1 << 20:
        mapped.store(at, b"\x01" * 8)
        at += 8
    thread.join()
    assert (tmp_path / "map").read_bytes() == b"\x01" * at + bytes((1 << 20) - at)


# ---- Removing piece by piece ----

PIECE = 256 << 10


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 4 * PIECE])
def test_gradual_removal_removes(place: tuple[Any, str], size: int) -> None:
    env, root = place
    file = env.new_writable_file(f"{root}/file")
    file.append(b"x" * size)
    file.close()
    env.remove_gradually(f"{root}/file")
    assert env.list(root) == []
    with pytest.raises(errors.StorageError, match="No such file"):
        env.remove_gradually(f"{root}/file")


def seconds_to_remove(path: Path, *, hurry: bool = False) -> float:
    begin = time.perf_counter()
    testing.posix_env().remove_gradually(str(path), hurry)
    assert not path.exists()
    return time.perf_counter() - begin


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere files are removed at once")
def test_gradual_removal_takes_its_time_unless_told_to_hurry(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = b"x" * (20 * PIECE)
    path.write_bytes(content)
    gradual = seconds_to_remove(path)
    path.write_bytes(content)
    assert seconds_to_remove(path, hurry=True) < 0.095 <= gradual  # 19 pauses of 5 ms


def test_gradual_removal_leaves_what_others_have(tmp_path: Path) -> None:
    """A backup made of hard links, a reader that opened the file, and one that only maps it."""
    content = os.urandom(4 * PIECE)
    path = tmp_path / "file"

    path.write_bytes(content)
    os.link(path, tmp_path / "backup")
    seconds_to_remove(path)
    assert (tmp_path / "backup").read_bytes() == content

    path.write_bytes(content)
    with path.open("rb") as opened:
        seconds_to_remove(path)
        assert opened.read() == content

    path.write_bytes(content)
    with path.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    seconds_to_remove(path)
    assert mapped[:] == content
    mapped.close()
