"""The write-ahead log: what was synced is read back or named as damaged; what was not is a prefix."""

from __future__ import annotations

import errno
import os
import re
import struct
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue import _engine, errors

testing = _engine.testing

STORE = bytes(range(16))
HEADER = 4096
DOCUMENT = Path(__file__).parents[2] / "docs" / "formats" / "wal.md"


class Record(NamedTuple):
    type: int
    first_seq: int
    count: int
    payload: bytes


# ---- A second reader, made from docs/formats/wal.md alone ----

TABLE = []
for value in range(256):
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    TABLE.append(value)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


class Twin:
    def __init__(self, log: bytes) -> None:
        magic, self.version, self.flags, self.store = struct.unpack_from("<8sII16s", log, 0)
        self.generation, self.first_sequence, self.capacity, reserved, crc = struct.unpack_from(
            "<QQQII", log, 32
        )
        assert (magic, self.version, reserved) == (b"SEGUEWAL", 1, 0)
        assert crc == crc32c(log[:60])
        assert self.capacity == len(log)
        assert log[72:HEADER] == bytes(HEADER - 72)
        units, crc = struct.unpack_from("<II", log, 64)
        assert crc == crc32c(struct.pack("<QI", self.generation, units))
        self.synced_to = units * 8
        self.records: list[Record] = []
        self.offsets: list[int] = []
        at = HEADER
        while at + 32 <= len(log):
            crc, length, generation, first_seq, count, type_ = struct.unpack_from("<IIQQIB", log, at)
            end = at + 32 + (length + 7) // 8 * 8
            if (
                generation != self.generation
                or end > len(log)
                or type_ == 0
                or crc != crc32c(log[at + 4 : end])
            ):
                break
            assert log[at + 29 : at + 32] == bytes(3)
            assert log[at + 32 + length : end] == bytes(end - at - 32 - length)
            self.records.append(Record(type_, first_seq, count, log[at + 32 : at + 32 + length]))
            self.offsets.append(at)
            at = end
        self.end = at


def open_writer(env: Any, path: str = "wal", **options: Any) -> Any:
    return testing.WalWriter(path, STORE, env=env, **{"capacity": 1 << 16, **options})


def append(writer: Any, records: list[Record]) -> list[int]:
    """End offsets."""
    ends = []
    for r in records:
        end = writer.append(r.payload, type=r.type, first_seq=r.first_seq, count=r.count)
        assert end is not None
        ends.append(end)
    return ends


def read(env: Any, path: str = "wal") -> list[Record]:
    reader = testing.WalReader(path, STORE, env=env)
    found = []
    while (record := reader.next()) is not None:
        type_, first_seq, count, _, payload = record
        found.append(Record(type_, first_seq, count, payload))
    assert reader.next() is None
    return found


PAYLOADS = st.one_of(st.binary(max_size=40), st.integers(0, 3000).map(lambda n: bytes([n & 255]) * n))
RECORDS = st.lists(
    st.builds(
        Record,
        type=st.integers(1, 255),
        first_seq=st.integers(0, 2**64 - 1),
        count=st.integers(0, 2**32 - 1),
        payload=PAYLOADS,
    ),
    max_size=12,
)


def play(i: int, size: int = 5) -> Record:
    return Record(1, i, 1, f"{i}".encode().ljust(size, b"."))


# ---- The format ----


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.integers(1, 2**64 - 1), st.integers(0, 2**64 - 1), st.booleans(), st.integers(0, 12))
def test_writer_reader_and_document_agree(
    records: list[Record], generation: int, first_sequence: int, prior_synced: bool, synced: int
) -> None:
    env = testing.MemEnv()
    writer = open_writer(
        env, generation=generation, first_sequence=first_sequence, prior_synced=prior_synced, capacity=1 << 16
    )
    ends = append(writer, records[:synced])
    writer.sync()
    ends += append(writer, records[synced:])
    twin = Twin(env.read_raw("wal"))
    assert (twin.generation, twin.first_sequence) == (generation, first_sequence)
    assert (twin.flags, twin.store) == (int(prior_synced), STORE)
    assert twin.records == records
    assert twin.end == writer.end_offset == (ends[-1] if ends else HEADER)
    assert twin.synced_to == writer.synced_offset == [HEADER, *ends][min(synced, len(records))]
    reader = testing.WalReader("wal", STORE, env=env)
    assert (reader.generation, reader.first_sequence) == (generation, first_sequence)
    assert (reader.prior_synced, reader.store_id) == (prior_synced, STORE)
    assert (reader.capacity, reader.synced_to) == (1 << 16, twin.synced_to)
    for record, offset in zip(records, twin.offsets, strict=True):
        assert reader.last_offset == offset
        assert reader.next() == (record.type, record.first_seq, record.count, offset, record.payload)
    assert reader.next() is None
    assert reader.last_offset == twin.end


def test_the_document_shows_what_the_writer_writes() -> None:
    env = testing.MemEnv()
    path = "wal-000007.log"
    writer = testing.WalWriter(
        path, STORE, generation=7, first_sequence=1001, prior_synced=True, capacity=8192, env=env
    )
    append(writer, [Record(1, 1001, 1, b"play:42"), Record(2, 1002, 2, b"skip:7 play:19")])
    writer.sync()
    log = env.read_raw(path)
    shown = bytearray(len(log))
    covered = 0
    for line in re.findall(
        r"^([0-9a-f]{8}  (?:[0-9a-f ]{48})\s*\|.*\|)$", DOCUMENT.read_text(), re.MULTILINE
    ):
        offset, row, text = int(line[:8], 16), bytes.fromhex(line[10:58]), line[-17:-1]
        shown[offset : offset + 16] = row
        assert "".join(chr(c) if 32 <= c < 127 else "." for c in row) == text
        covered += 1
    assert covered == 11
    assert log == bytes(shown)
    assert Twin(log).records == Twin(bytes(shown)).records


def test_a_real_file_is_the_same_file(tmp_path: Path) -> None:
    env = testing.MemEnv()
    path = str(tmp_path / "wal")
    for writer in (open_writer(env), open_writer(None, path)):
        append(writer, [play(i, 300) for i in range(100)])
        writer.sync()
        append(writer, [play(100)])
    assert (tmp_path / "wal").read_bytes() == env.read_raw("wal")
    assert os.listdir(tmp_path) == ["wal"]
    assert read(None, path) == [*(play(i, 300) for i in range(100)), play(100)]


def test_sizes_at_the_edge() -> None:
    env = testing.MemEnv()
    writer = open_writer(env, capacity=HEADER + 32 + 40 + 32)
    assert writer.append(bytes(73)) is None  # with the header alone, the first record takes what it needs
    assert writer.append(b"x" * 40) == HEADER + 72
    assert writer.append(b"y") is None
    assert writer.append(b"") == HEADER + 104 == writer.capacity
    assert writer.append(b"") is None
    assert [r.payload for r in read(env)] == [b"x" * 40, b""]
    writer.seal()
    assert [r.payload for r in read(env)] == [b"x" * 40, b""]
    for capacity in (0, HEADER, 8 * 2**32):
        with pytest.raises(errors.InvalidError, match="impossible"):
            open_writer(env, "other", capacity=capacity)
    with pytest.raises(errors.InvalidError, match="generation"):
        open_writer(env, "other", generation=0)
    assert env.files() == ["wal"]


def test_a_large_record_gets_a_file_of_its_own_size(tmp_path: Path) -> None:
    default = 64 << 20
    assert testing.WalWriter.file_size_for(0) == default
    assert testing.WalWriter.file_size_for(default - HEADER - 32) == default
    size = testing.WalWriter.file_size_for(default - HEADER - 31)
    assert size == default + (1 << 20)
    payload = os.urandom(1 << 20) * 65
    writer = open_writer(None, str(tmp_path / "wal"), capacity=testing.WalWriter.file_size_for(len(payload)))
    assert writer.append(payload) is not None
    assert read(None, str(tmp_path / "wal")) == [Record(1, 1, 1, payload)]


def test_staged_records_are_in_the_file_once_synced() -> None:
    env = testing.MemEnv()
    writer = open_writer(env, capacity=4 << 20, staged=True)
    records = [play(i, 37 * i) for i in range(400)]
    for synced in range(0, 400, 50):
        append(writer, records[synced : synced + 50])
        assert read(env) == records[:synced]
        writer.sync()
        assert read(env) == records[: synced + 50]
    writer.seal()
    assert testing.WalReader("wal", STORE, env=env).synced_to == writer.end_offset


def test_zeros_go_ahead_of_a_new_staged_log_and_of_no_other() -> None:
    def writes_of_syncs(path: str, **kwargs: Any) -> list[int]:
        writer = open_writer(env, path, capacity=4 << 20, **kwargs)
        counts = []
        for n in range(8):
            append(writer, [play(n, 100_000)])
            before = env.op_count()
            writer.sync()
            counts.append(sum(env.op(op).startswith("write") for op in range(before + 1, env.op_count() + 1)))
        return counts

    env = testing.MemEnv()
    # The records, the note of the sync, and now and then zeros.
    assert writes_of_syncs("new", staged=True) == [3, 2, 2, 2, 2, 2, 3, 2]
    assert writes_of_syncs("again", staged=True, generation=2, recycle="new") == [2] * 8
    assert writes_of_syncs("mapped") == [0] * 8
    assert len(read(env, "again")) == 8


def test_zeros_do_not_go_beyond_the_end_of_a_log() -> None:
    env = testing.MemEnv()
    writer = open_writer(env, capacity=8192, staged=True)
    while writer.append(b"x" * 500) is not None:
        writer.sync()
    assert len(env.read_raw("wal")) == 8192
    assert len(read(env)) == 7


def test_staged_or_not_the_bytes_are_the_same() -> None:
    records = [play(1), play(2, 5000), play(3, 0), play(4, 9000)]
    logs = []
    for staged in (False, True):
        env = testing.MemEnv()
        writer = open_writer(env, staged=staged)
        append(writer, records)
        writer.seal()
        logs.append(env.read_raw("wal"))
    assert logs[0] == logs[1]


def test_a_failed_write_of_a_large_record_fails_the_writer() -> None:
    env = testing.MemEnv()
    writer = open_writer(env)
    append(writer, [play(1)])
    env.set_fail_at(env.op_count() + 1, errno.EIO, short_write=True)
    with pytest.raises(errors.StorageError):
        writer.append(b"x" * 5000)
    with pytest.raises(errors.StorageError):
        writer.append(b"x")
    assert read(env) == [play(1)]


# ---- Damage ----


def damaged_log() -> tuple[bytes, list[Record], list[int], int]:
    """A log of 6 records, the first 4 synced, over the remains of an earlier one."""
    env = testing.MemEnv()
    old = open_writer(env, "old", generation=1, capacity=5120)
    append(old, [play(i, 20) for i in range(15)])
    old.seal()
    del old
    records = [play(i, 3 * i) for i in range(1, 7)]
    writer = open_writer(env, generation=2, capacity=5120, recycle="old")
    ends = append(writer, records[:4])
    writer.sync()
    ends += append(writer, records[4:])
    return env.read_raw("wal"), records, ends, writer.synced_offset


def check_damage(log: bytes, first: int, records: list[Record], ends: list[int], synced: int) -> None:
    """The log reads as an exact prefix, or, when byte `first` lies in synced records, as damaged there."""
    env = testing.MemEnv()
    env.write_raw("wal", log)
    intact = sum(end <= first for end in ends)
    starts = [HEADER, *ends]
    if first < synced and log != b"":
        with pytest.raises(errors.CorruptionError) as caught:
            read(env)
        assert caught.value.path == "wal"
        assert caught.value.offset == starts[intact]
        assert "wal" in str(caught.value)
    else:
        assert read(env) == records[:intact]


def test_any_changed_byte() -> None:
    log, records, ends, synced = damaged_log()
    for at in range(HEADER, ends[-1]):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(log)
            damaged[at] ^= flip
            check_damage(bytes(damaged), at, records, ends, synced)
    # Behind the last record anything may stand.
    assert len(log) - ends[-1] > 100
    for at in range(ends[-1], len(log)):
        damaged = bytearray(log)
        damaged[at] ^= 0xFF
        check_damage(bytes(damaged), ends[-1], records, ends, synced)


@pytest.mark.parametrize("fill", ["zero", "ones", "noise", "stale"])
def test_everything_lost_from_any_byte_on(fill: str) -> None:
    log, records, ends, synced = damaged_log()
    env = testing.MemEnv()
    append(open_writer(env, "old", generation=1, capacity=len(log)), records)
    noise = {
        "zero": bytes(len(log)),
        "ones": b"\xff" * len(log),
        "noise": os.urandom(len(log)),
        "stale": env.read_raw("old"),  # an earlier life with the very same records
    }[fill]
    for at in range(HEADER, ends[-1] + 1):
        damaged = log[:at] + noise[at:]
        # Where the filling happens to equal the log, nothing is damaged.
        first = next((i for i in range(at, ends[-1]) if damaged[i] != log[i]), ends[-1])
        check_damage(damaged, first, records, ends, synced)


def test_a_file_cut_at_any_byte() -> None:
    log, _, _, _ = damaged_log()
    env = testing.MemEnv()
    for size in range(len(log)):
        env.write_raw("wal", log[:size])
        with pytest.raises(errors.CorruptionError) as caught:
            testing.WalReader("wal", STORE, env=env)
        assert caught.value.offset == (0 if size < HEADER else size)


@pytest.mark.parametrize("at", range(72))
def test_any_changed_byte_of_the_header(at: int) -> None:
    log, _, _, _ = damaged_log()
    damaged = bytearray(log)
    damaged[at] ^= 0x10
    env = testing.MemEnv()
    env.write_raw("wal", bytes(damaged))
    with pytest.raises(errors.CorruptionError) as caught:
        testing.WalReader("wal", STORE, env=env)
    assert caught.value.offset == (0 if at < 8 else 64 if at >= 64 else 60)


def with_header(log: bytes, **changes: bytes) -> bytes:
    """The log with header fields replaced and the checksum made to fit."""
    changed = bytearray(log)
    for name, value in changes.items():
        offset = {"version": 8, "store": 16, "capacity": 48}[name]
        changed[offset : offset + len(value)] = value
    changed[60:64] = struct.pack("<I", crc32c(bytes(changed[:60])))
    return bytes(changed)


def test_another_stores_log_is_refused() -> None:
    log, _, _, _ = damaged_log()
    env = testing.MemEnv()
    env.write_raw("wal", with_header(log, store=bytes(16)))
    with pytest.raises(errors.CorruptionError, match=r"belongs to the event table 0000.*not to 000102"):
        testing.WalReader("wal", STORE, env=env)


def test_a_newer_version_is_not_called_damage() -> None:
    log, _, _, _ = damaged_log()
    env = testing.MemEnv()
    env.write_raw("wal", with_header(log, version=struct.pack("<I", 2)))
    with pytest.raises(errors.UnsupportedError, match=r"version 2.*upgrade"):
        testing.WalReader("wal", STORE, env=env)


def test_a_note_beyond_the_file_is_damage() -> None:
    log, _, _, _ = damaged_log()
    for synced_to in (0, 4088, len(log) + 8):
        word = struct.pack("<I", synced_to // 8)
        crc = struct.pack("<I", crc32c(struct.pack("<Q", 2) + word))
        env = testing.MemEnv()
        env.write_raw("wal", log[:64] + word + crc + log[72:])
        with pytest.raises(errors.CorruptionError, match="how far it was synced"):
            testing.WalReader("wal", STORE, env=env)


def test_a_sealed_log_is_synced_to_its_end() -> None:
    env = testing.MemEnv()
    writer = open_writer(env)
    ends = append(writer, [play(i) for i in range(5)])
    writer.sync()
    crashed = env.crash("none")  # the note of this sync waits for the next one
    assert testing.WalReader("wal", STORE, env=crashed).synced_to == HEADER
    writer.seal()
    crashed = env.crash("none")
    assert testing.WalReader("wal", STORE, env=crashed).synced_to == ends[-1]
    assert read(crashed) == [play(i) for i in range(5)]


# ---- Reuse ----


@settings(max_examples=60, deadline=None)
@given(st.lists(RECORDS, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_records_of_an_earlier_life_never_come_back(lives: list[list[Record]], random: Any) -> None:
    """Also where the old records begin exactly where the new ones end."""
    env = testing.MemEnv()
    previous = ""
    for generation, records in enumerate(lives, start=1):
        path = f"wal-{generation}"
        same_sizes = [
            r._replace(payload=bytes(random.randrange(256) for _ in r.payload[:50])) for r in lives[0]
        ]
        chosen = random.choice([records, same_sizes, same_sizes[: len(same_sizes) // 2]])
        writer = open_writer(env, path, generation=generation, recycle=previous)
        append(writer, chosen)
        assert read(env, path) == chosen
        assert Twin(env.read_raw(path)).records == chosen
        writer.seal()
        assert read(env.crash("none"), path) == chosen
        del writer
        previous = path
    assert env.files() == [previous]


def test_a_reader_of_a_reused_file_is_told(tmp_path: Path) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    writer = open_writer(None, old, generation=1)
    append(writer, [play(1), play(2)])
    reader = testing.WalReader(old, STORE)
    assert reader.next() is not None
    del writer
    writer = open_writer(None, new, generation=2, recycle=old)
    append(writer, [play(3)])
    assert reader.next() is not None  # read ahead before the reuse
    with pytest.raises(errors.ClosedError, match="reused for a newer log"):
        reader.next()


def test_smaller_and_larger_reuse() -> None:
    env = testing.MemEnv()
    capacities = [1 << 15, 1 << 14, 1 << 16]
    previous = ""
    for generation, capacity in enumerate(capacities, start=1):
        path = f"wal-{generation}"
        writer = open_writer(env, path, generation=generation, recycle=previous, capacity=capacity)
        append(writer, [play(i, 100) for i in range(80)])
        assert read(env, path) == [play(i, 100) for i in range(80)]
        assert env.file_size(path) == capacity
        del writer
        previous = path


# ---- A reader beside a writer ----


def test_tailing_and_resuming() -> None:
    env = testing.MemEnv()
    writer = open_writer(env)
    reader = testing.WalReader("wal", STORE, env=env)
    assert reader.next() is None
    for i in range(50):
        append(writer, [play(i)])
        if i % 3 == 0:
            writer.sync()
        assert reader.next()[4] == play(i).payload
        assert reader.next() is None
        resumed = testing.WalReader("wal", STORE, env=env)
        resumed.seek_to(reader.last_offset)
        assert resumed.next() is None
    assert reader.last_offset == writer.end_offset
    assert reader.synced_to == writer.synced_offset
    reader.seek_to(HEADER)
    assert reader.drain() == (50, 250)
    for offset in (0, HEADER + 4, (1 << 16) + 8):
        with pytest.raises(errors.InvalidError, match="last_offset"):
            reader.seek_to(offset)


def test_a_record_synced_after_the_reader_read_ahead_is_not_damage() -> None:
    env = testing.MemEnv()
    writer = open_writer(env)
    append(writer, [play(1)])
    reader = testing.WalReader("wal", STORE, env=env)
    assert reader.next()[4] == play(1).payload  # its buffer reaches beyond, where nothing is yet
    append(writer, [play(2)])
    writer.sync()
    assert reader.next()[4] == play(2).payload
    assert reader.synced_to == writer.end_offset


@pytest.mark.parametrize("staged", [False, True])
def test_another_process_never_sees_half_a_record(tmp_path: Path, staged: bool) -> None:
    """It reads as fast as it can while this one writes, syncs and reuses nothing."""
    path = str(tmp_path / "wal")
    writer = open_writer(None, path, capacity=32 << 20, staged=staged)
    code = """
        import sys
        from segue import _engine
        reader = _engine.testing.WalReader(sys.argv[1], bytes(range(16)))
        print("open", flush=True)
        expected = 0
        while True:
            record = reader.next()
            if record is None:
                continue
            _, first_seq, count, _, payload = record
            assert first_seq == expected, (first_seq, expected)
            if count == 0:
                break
            assert payload == bytes([first_seq % 251]) * len(payload), first_seq
            expected += 1
        print(expected)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), path], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        stop = threading.Event()

        def sync() -> None:
            while not stop.is_set():
                writer.sync()

        thread = threading.Thread(target=sync)
        thread.start()
        for i in range(20_000):
            assert writer.append(bytes([i % 251]) * (i * 37 % 1500), first_seq=i, count=1) is not None
        stop.set()
        thread.join()
        assert writer.append(b"", first_seq=20_000, count=0) is not None
        writer.sync()
        assert child.stdout.read() == "20000\n"
        assert child.wait(timeout=60) == 0
    writer.seal()
    assert testing.WalReader(path, STORE).drain()[0] == 20_001
    assert writer.synced_offset == writer.end_offset


# ---- Crashes ----


class Run:
    """Writes logs, each over the one before, until the file system dies under it."""

    def __init__(self, env: Any, batches: list[list[Record]], staged: bool) -> None:
        self.env = env
        self.staged = staged
        self.attempted: dict[str, list[Record]] = {}
        self.appended: dict[str, list[Record]] = {}
        self.durable: dict[str, int] = {}  # records that a sync has promised
        self.reused: set[str] = set()
        try:
            self.work(batches)
        except errors.StorageError:
            if not env.crashed:
                raise

    def work(self, batches: list[list[Record]]) -> None:
        path = ""
        for generation in (1, 2, 3):
            new = f"wal-{generation}"
            # A reused log is out of the manifest, so nobody asks for it any more.
            self.durable.pop(path, None)
            self.reused.add(path)
            writer = open_writer(
                self.env, new, generation=generation, recycle=path, capacity=1 << 14, staged=self.staged
            )
            self.attempted[new], self.appended[new], self.durable[new] = [], [], 0
            for batch in batches:
                self.append(writer, new, batch)
                writer.sync()
                self.durable[new] = len(self.appended[new])
            self.append(writer, new, batches[0])
            if generation < 3:
                writer.seal()
                self.durable[new] = len(self.appended[new])
            del writer
            path = new

    def append(self, writer: Any, path: str, batch: list[Record]) -> None:
        for record in batch:
            self.attempted[path].append(record)
            append(writer, [record])
            self.appended[path].append(record)

    def check(self, crashed: Any) -> None:
        for path, promised in self.durable.items():
            found = read(crashed, path)
            assert found == self.attempted[path][: len(found)]
            assert len(found) >= promised
            note = testing.WalReader(path, STORE, env=crashed).synced_to
            assert note >= HEADER
        # A log under its own name has a good header whenever the crash came, unless it was being reused.
        for path in crashed.files():
            if not path.endswith(".new") and path not in self.reused:
                testing.WalReader(path, STORE, env=crashed)


@pytest.mark.parametrize("staged", [False, True])
def test_power_loss_at_every_operation(staged: bool) -> None:
    batches = [[play(1), play(2, 700)], [play(3, 4500)], [play(4, 0), play(5, 513)]]
    full = Run(testing.MemEnv(), batches, staged)
    assert full.durable == {"wal-3": 5}
    total = full.env.op_count()
    assert total >= 3 * 8
    for at in range(1, total + 2):
        env = testing.MemEnv()
        env.set_crash_at(at)
        run = Run(env, batches, staged)
        assert env.crashed == (at <= total)
        run.check(env.crash("none"))
        everything = env.crash("all")
        run.check(everything)
        for path in run.durable if not staged else ():  # as after a kill: every appended record is there
            assert len(read(everything, path)) >= len(run.appended[path])
        for seed in range(12):
            run.check(env.crash("random", seed))


@settings(max_examples=60, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=4), st.booleans(), st.integers(0, 2**32), st.data())
def test_power_loss_anywhere_leaves_a_prefix(
    batches: list[list[Record]], staged: bool, seed: int, data: st.DataObject
) -> None:
    batches = [[r._replace(payload=r.payload[:600]) for r in batch[:6]] for batch in batches]
    total = Run(testing.MemEnv(), batches, staged).env.op_count()
    env = testing.MemEnv()
    env.set_crash_at(data.draw(st.integers(1, total)))
    run = Run(env, batches, staged)
    for keep in ("none", "all", "random"):
        run.check(env.crash(keep, seed))


@pytest.mark.parametrize(("staged", "operation"), [(False, 1), (True, 1), (True, 2)])
def test_a_failed_sync_is_never_tried_again(staged: bool, operation: int) -> None:
    env = testing.MemEnv()
    writer = open_writer(env, staged=staged)
    append(writer, [play(1)])
    writer.sync()
    append(writer, [play(2)])
    env.set_fail_at(env.op_count() + operation, errno.EIO)
    with pytest.raises(errors.StorageError) as caught:
        writer.sync()
    assert caught.value.errno == errno.EIO
    assert writer.synced_offset < writer.end_offset
    operations = env.op_count()
    for call in (writer.sync, writer.seal, lambda: writer.append(b"x")):
        with pytest.raises(errors.StorageError) as again:
            call()
        assert str(again.value) == str(caught.value)
    assert env.op_count() == operations
    assert read(env.crash("none")) == [play(1)]


def test_sync_takes_what_is_committed_and_no_more_than_is_there() -> None:
    env = testing.MemEnv()
    writer = open_writer(env)
    first, second = append(writer, [play(1), play(2)])
    with pytest.raises(errors.InvalidError, match="ends at"):
        writer.sync(second + 8)
    writer.sync(first)
    assert writer.synced_offset == second
    operations = env.op_count()
    writer.sync(second)
    writer.sync()
    assert env.op_count() == operations  # nothing to do, nothing done
    assert read(env.crash("none")) == [play(1), play(2)]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_creation_fails_cleanly(error: int) -> None:
    """A log that could not be made leaves nothing under its name, or a whole one."""
    for at in range(1, 8):  # map, write, sync, rename, syncdir, map again, prepare
        env = testing.MemEnv()
        env.set_fail_at(at, error)
        with pytest.raises(errors.StorageError) as caught:
            open_writer(env)
        assert caught.value.errno == error
        if env.exists("wal"):
            assert read(env) == []
    env = testing.MemEnv()
    open_writer(env)
    assert env.op_count() == 7


@pytest.mark.parametrize("staged", [False, True])
def test_many_threads_share_syncs(tmp_path: Path, staged: bool) -> None:
    writer = open_writer(None, str(tmp_path / "wal"), capacity=4 << 20, staged=staged)
    lock = threading.Lock()
    wrong = []

    def work() -> None:
        for i in range(100):
            with lock:
                end = writer.append(b"x" * 50, first_seq=i)
            writer.sync(end)
            if writer.synced_offset < end:
                wrong.append(i)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert writer.synced_offset == writer.end_offset
    assert testing.WalReader(str(tmp_path / "wal"), STORE).drain() == (400, 20_000)


def test_a_log_in_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(errors.StorageError, match="does not exist"):
        open_writer(None, str(tmp_path / "no" / "wal"))
    with pytest.raises(errors.StorageError) as caught:
        testing.WalReader(str(tmp_path / "wal"), STORE)
    assert caught.value.errno == errno.ENOENT
