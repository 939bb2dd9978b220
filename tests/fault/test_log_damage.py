"""A store whose log was damaged opens with an exact prefix of its events, or says what is damaged.

Every byte of a small log is where it ends, turns to zeros, to noise, or to what the file held in an earlier
life. Below the point to which the log was synced that is always an error; beyond it never a wrong row, a
row twice or half a batch. Both kinds of log are tried: staged ("commit") and mapped ("os", "interval").
"""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Callable

import pyarrow as pa
import pytest

from segue import _engine
from segue.errors import CorruptionError, Error
from segue.events import Events

testing = _engine.testing

SCHEMA = pa.schema({"k": pa.int64(), "at": pa.timestamp("us"), "s": pa.string()})
OPTIONS = {"wal_bytes": 8192, "background_compaction": False}
HEADER = 4096
Unit = list[int]


def columns(values: Unit) -> dict[str, list]:
    return {"k": values, "at": values, "s": [f"s{k}" for k in values]}


def create(env, durability: str) -> Events:
    return Events.create("/t", "t", SCHEMA, "k", "at", durability=durability, _options=OPTIONS, _env=env)


def log_path(env) -> str:
    """Of the log in use: an older one may wait to be reused, one that was made ahead has no record."""
    return max(f"/{path}" for path in env.files() if path.endswith(".log") and begun(env, f"/{path}"))


def begun(env, path: str) -> bool:
    return testing.WalReader(path, env.read_raw(path)[16:32], env).next() is not None


def append(events: Events, unit: Unit) -> None:
    if len(unit) == 1:
        events.append(unit[0], unit[0], f"s{unit[0]}")
    else:
        events.append_batch(columns(unit))


class Damaged:
    """A closed or crashed store with one log, and what is in it."""

    def __init__(self, durability: str, closed: bool) -> None:
        env = testing.MemEnv()
        events = create(env, durability)
        # An earlier life of the same file: records of the same sizes, at the same places.
        self.units: list[Unit] = []
        for unit in ([1], [2], [3, 4], [5]):
            append(events, unit)
        before = env.read_raw(log_path(env))
        events.flush()
        self.flushed = 5
        for unit in ([11], [12], [13, 14]):
            append(events, unit)
            self.units.append(unit)
        events.sync()
        synced = len(self.units)
        if durability == "os":
            for unit in ([15], [16, 17, 18]):
                append(events, unit)
                self.units.append(unit)
        self.env = env
        if closed:
            events.close()
            synced = len(self.units)
        else:
            self.env = env.crash("all")  # a killed process
            events.close()
        self.log = log_path(self.env)
        self.bytes = self.env.read_raw(self.log)
        self.old = before
        reader = testing.WalReader(self.log, bytes.fromhex(events.store_id), self.env)
        self.ends: list[int] = []
        while reader.next() is not None:
            self.ends.append(reader.last_offset)
        assert len(self.ends) == len(self.units)
        self.synced_to = self.ends[synced - 1]
        assert reader.synced_to <= self.synced_to
        self.noted = reader.synced_to
        self.end = self.ends[-1]

    def open_with(self, log: bytes, mode: str) -> tuple[Events, list[int]]:
        env = self.env.crash("all")
        env.write_raw(self.log, log)
        events = Events.open("/t", "t", mode=mode, _options=OPTIONS, _env=env)
        rows = events.snapshot().scan_sequences(0, 2**62, None, "n").to_arrow().sort_by("n").to_pylist()
        assert [row["n"] for row in rows] == list(range(1, len(rows) + 1))
        assert all(row["s"] == f"s{row['k']}" for row in rows)
        return events, [row["k"] for row in rows][self.flushed :]

    def check(self, log: bytes, at: int, mode: str = "r") -> bool:
        """`log` differs from the real one from byte `at` on; whether it was opened."""
        try:
            events, found = self.open_with(log, mode)
        except CorruptionError as error:
            if error.path != self.log:
                raise
            return False
        with events:
            units = [len(unit) for unit in self.units]
            whole = [sum(units[:n]) for n in range(len(units) + 1)]
            assert len(found) in whole, "half a batch was taken"
            assert found == [k for unit in self.units for k in unit][: len(found)], "no prefix"
            # Everything that lies wholly before the damage is there, and nothing that it touches.
            intact = [n for n, end in enumerate([HEADER, *self.ends]) if end <= at]
            assert whole.index(len(found)) >= max(intact, default=0)
            if log[: self.end] != self.bytes[: self.end]:
                first = next(i for i, (a, b) in enumerate(zip(log, self.bytes, strict=False)) if a != b)
                assert first >= self.noted, f"damage at byte {first}, which was synced, went unnoticed"
                assert whole.index(len(found)) == sum(end <= first for end in self.ends)
            else:
                assert len(found) == whole[-1]
            if mode == "rw":
                assert events.append(99, 99, "s99") == self.flushed + len(found) + 1
                events.flush()
                events.verify()
        return True


def noise(n: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(n)


FILLS: dict[str, Callable[[Damaged, int], bytes]] = {
    "zeros": lambda d, at: d.bytes[:at] + bytes(len(d.bytes) - at),
    "noise": lambda d, at: d.bytes[:at] + noise(len(d.bytes) - at, at),
    "an earlier life": lambda d, at: d.bytes[:at] + d.old[at:],
    "one byte": lambda d, at: d.bytes[:at] + bytes([d.bytes[at] ^ 0x40]) + d.bytes[at + 1 :],
}


@pytest.fixture(
    scope="module",
    params=[("commit", False), ("commit", True), ("os", False), ("os", True)],
    ids=lambda p: f"{p[0]}, {'closed' if p[1] else 'killed'}",
)
def damaged(request) -> Damaged:
    return Damaged(*request.param)


@pytest.mark.parametrize("fill", FILLS)
def test_any_byte_on(damaged: Damaged, fill: str) -> None:
    opened = refused = 0
    for at in range(HEADER, damaged.end + 40):
        log = FILLS[fill](damaged, at)
        # Each place as a reader finds it, and each eighth as a writer does.
        ok = damaged.check(log, at)
        if at % 8 == 0:
            assert damaged.check(log, at, "rw") == ok, "a writer and a reader disagree"
        opened += ok
        refused += not ok
    assert opened >= 40, "what lies behind the end is nobody's loss"
    assert refused > 0, "damage to what was synced is an error"


def test_a_log_cut_anywhere_is_refused(damaged: Damaged) -> None:
    for at in (*range(80), *range(HEADER, damaged.end + 8), len(damaged.bytes) - 1):
        with pytest.raises(CorruptionError):
            damaged.open_with(damaged.bytes[:at], "rw")


def test_a_log_that_is_all_zeros_noise_or_of_an_earlier_life_is_refused(damaged: Damaged) -> None:
    size = len(damaged.bytes)
    for log in (bytes(size), noise(size, 1), damaged.old):
        assert log[:HEADER] != damaged.bytes[:HEADER]
        with pytest.raises(CorruptionError):
            damaged.open_with(log, "rw")


@pytest.mark.parametrize("mode", ["r", "rw"])
@pytest.mark.parametrize(
    ("prior_synced", "made_ahead"), [(False, None), (True, None), (False, 0), (False, 2)]
)
def test_a_log_that_is_gone_is_missed_where_a_later_one_shows_it(
    prior_synced: bool, made_ahead: int | None, mode: str
) -> None:
    two = TwoLogs(prior_synced, made_ahead=made_ahead)
    left = two.env.read_raw(two.paths[1])
    two.env.remove(two.paths[0])
    with pytest.raises(CorruptionError, match="a log of this event table is missing") as raised:
        two.rows(mode)
    assert raised.value.path == two.paths[1]
    assert two.env.read_raw(two.paths[1]) == left, "what is left is kept"


class TwoLogs:
    """A store that died while the log of a full memtable and the next one were both needed."""

    def __init__(
        self, prior_synced: bool, repeated: bool = False, made_ahead: int | None = None, synced: bool = True
    ) -> None:
        self.env = testing.MemEnv()
        events = create(self.env, "commit")
        for k in range(1, 7):
            append(events, [k])
        events.close()
        store_id = bytes.fromhex(events.store_id)
        path = log_path(self.env)
        reader = testing.WalReader(path, store_id, self.env)
        records = list(iter(reader.next, None))
        generation = reader.generation
        self.paths = [f"/t/wal-{generation + n:06d}.log" for n in range(2)]
        self.env.remove(path)
        self.ends: list[int] = []
        half = len(records) // 2
        # `repeated`: the second holds what the first does, as a recovery that was cut short leaves it.
        parts = [records, records] if repeated else [records[:half], records[half:]]
        for n, part in enumerate(parts):
            first = 1 if repeated or n == 0 else half + 1
            # Made when the first one had so many events.
            ahead = n > 0 and made_ahead is not None
            writer = testing.WalWriter(
                self.paths[n],
                store_id,
                generation + n,
                made_ahead + 1 if ahead else first,
                prior_synced and n > 0,
                8192,
                env=self.env,
                made_ahead=ahead,
            )
            for kind, first_seq, count, _, payload in part:
                end = writer.append(payload, kind, first_seq, count)
                if n == 0:
                    self.ends.append(end)
            if n > 0 and synced:
                writer.sync()
        self.env.sync_dir("/t")

    def rows(self, mode: str) -> list[int]:
        env = self.env.crash("all")
        with Events.open("/t", "t", mode=mode, _options=OPTIONS, _env=env) as events:
            found = sorted(events.scan().to_arrow()["k"].to_pylist())
            if mode == "rw":
                assert events.append(99, 99, "s99") == len(found) + 1
        if mode == "rw":
            with Events.open("/t", "t", _options=OPTIONS, _env=env) as events:
                assert sorted(events.scan().to_arrow()["k"].to_pylist()) == [*found, 99]
        return found


@pytest.mark.parametrize("mode", ["r", "rw"])
@pytest.mark.parametrize("gone", [0, 1])
def test_a_log_that_is_gone_is_missed_where_a_later_one_without_a_record_shows_it(
    gone: int, mode: str
) -> None:
    """It was made ahead of need, so it does not say with which event it begins; but it was not made first."""
    two = TwoLogs(prior_synced=False)
    generation = int(two.paths[1][7:13]) + 1
    last = f"/t/wal-{generation:06d}.log"
    store_id = two.env.read_raw(two.paths[1])[16:32]
    testing.WalWriter(last, store_id, generation, 1, False, 8192, env=two.env, made_ahead=True)
    two.env.sync_dir("/t")
    assert two.rows(mode) == [1, 2, 3, 4, 5, 6]
    for path in two.paths[gone:]:
        two.env.remove(path)
    left = sorted(two.env.files())
    with pytest.raises(CorruptionError, match="a log of this event table is missing") as raised:
        two.rows(mode)
    assert raised.value.path == last
    assert sorted(two.env.files()) == left, "what is left is kept"


@pytest.mark.parametrize("mode", ["r", "rw"])
def test_both_logs_whole(mode: str) -> None:
    assert TwoLogs(prior_synced=False).rows(mode) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("mode", ["r", "rw"])
@pytest.mark.parametrize("made_ahead", [0, 1, 3])
def test_a_log_that_was_made_ahead_begins_with_its_first_record(mode: str, made_ahead: int) -> None:
    assert TwoLogs(prior_synced=False, made_ahead=made_ahead).rows(mode) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("mode", ["r", "rw"])
@pytest.mark.parametrize("made_ahead", [None, 0, 1, 2, 3])
def test_a_lost_tail_takes_the_next_log_along(mode: str, made_ahead: int | None) -> None:
    """Power loss lost the end of the older log and kept the newer: no event may outlive an earlier one."""
    two = TwoLogs(prior_synced=False, made_ahead=made_ahead, synced=False)
    log = bytearray(two.env.read_raw(two.paths[0]))
    log[two.ends[-1] - 1] ^= 1
    two.env.write_raw(two.paths[0], bytes(log))
    assert two.rows(mode) == [1, 2]


@pytest.mark.parametrize("mode", ["r", "rw"])
@pytest.mark.parametrize(
    ("prior_synced", "synced", "made_ahead"), [(True, False, None), (False, True, None), (False, True, 2)]
)
def test_a_lost_tail_of_a_log_that_was_synced_is_an_error(
    prior_synced: bool, synced: bool, made_ahead: int | None, mode: str
) -> None:
    """The next log says so: it was made when all was synced, or was synced itself, after the one before."""
    two = TwoLogs(prior_synced, made_ahead=made_ahead, synced=synced)
    log = bytearray(two.env.read_raw(two.paths[0]))
    log[two.ends[-1] - 1] ^= 1
    two.env.write_raw(two.paths[0], bytes(log))
    damaged = bytes(log)
    before = {path: two.env.read_raw(f"/{path}") for path in two.env.files()}
    env = two.env.crash("all")
    with pytest.raises(CorruptionError, match="ends early") as raised:
        Events.open("/t", "t", mode=mode, _options=OPTIONS, _env=env)
    assert (raised.value.path, raised.value.offset) == (two.paths[0], two.ends[-2])
    assert {path: env.read_raw(f"/{path}") for path in env.files() if "LOCK" not in path} == {
        path: data for path, data in before.items() if "LOCK" not in path
    }, "what is left is kept"
    assert env.read_raw(two.paths[0]) == damaged


@pytest.mark.parametrize("mode", ["r", "rw"])
@pytest.mark.parametrize("synced", [False, True])
def test_a_lost_tail_of_a_log_is_an_error_where_only_the_last_log_says_that_it_was_synced(
    synced: bool, mode: str
) -> None:
    two = TwoLogs(prior_synced=False, synced=False)
    store_id = two.env.read_raw(two.paths[1])[16:32]
    generation = int(two.paths[1][7:13]) + 1
    path = f"/t/wal-{generation:06d}.log"
    reader = testing.WalReader(two.paths[1], store_id, two.env)
    payload = next(iter(reader.next, None))[4]
    writer = testing.WalWriter(path, store_id, generation, 7, False, 8192, env=two.env)
    writer.append(payload, 1, 7, 1)
    if synced:
        writer.sync()
    two.env.sync_dir("/t")
    log = bytearray(two.env.read_raw(two.paths[0]))
    log[two.ends[-1] - 1] ^= 1
    two.env.write_raw(two.paths[0], bytes(log))
    if mode == "rw" and synced:
        with pytest.raises(CorruptionError, match="ends early") as raised:
            two.rows(mode)
        assert raised.value.path == two.paths[0]
    else:
        # A reader looks no further than the next log; what it shows was there before all that is missing.
        assert two.rows(mode) == [1, 2]


@pytest.mark.parametrize("mode", ["r", "rw"])
def test_records_that_a_cut_off_recovery_wrote_again_count_once(mode: str) -> None:
    """Recovery writes the newest log's records into a new one; a crash may leave both."""
    assert TwoLogs(prior_synced=False, repeated=True).rows(mode) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("case", ["whole", "lost tail", "repeated"])
@pytest.mark.parametrize("keep", ["none", "all", "random"])
def test_a_recovery_that_is_cut_off_anywhere_is_done_again(case: str, keep: str) -> None:
    two = TwoLogs(prior_synced=False, repeated=case == "repeated", synced=case != "lost tail")
    expected = [1, 2, 3, 4, 5, 6]
    if case == "lost tail":
        log = bytearray(two.env.read_raw(two.paths[0]))
        log[two.ends[-1] - 1] ^= 1
        two.env.write_raw(two.paths[0], bytes(log))
        expected = [1, 2]
    before = two.env
    n = 0
    while True:
        n += 1
        env = before.crash("all")
        env.set_crash_at(n)
        finished = False
        with contextlib.suppress(Error, OSError):
            Events.open("/t", "t", _options=OPTIONS, _env=env).close()
            finished = not env.crashed
        if finished:
            break
        for seed in range(3 if keep == "random" else 1):
            two.env = env.crash(keep, seed)
            assert two.rows("r") == expected
            assert two.rows("rw") == expected
    assert n > 15, "a recovery is expected to do many operations"


def test_a_hole_inside_a_log_is_an_error() -> None:
    """A valid record whose number does not follow the one before was not written by a store."""
    two = TwoLogs(prior_synced=False)
    log = bytearray(two.env.read_raw(two.paths[0]))
    first = HEADER
    length = struct.unpack_from("<I", log, first + 4)[0]
    size = 32 + (length + 7) // 8 * 8
    # The second record in the first one's place, and so on.
    moved = log[first + size : two.ends[-1]]
    log[first : first + len(moved)] = moved
    two.env.write_raw(two.paths[0], bytes(log))
    with pytest.raises(CorruptionError, match="begins with event 2"):
        two.rows("rw")
