"""The manifest, read by a second implementation from docs/formats/manifest.md."""

from __future__ import annotations

import re
import shutil
import struct
from pathlib import Path

import pyarrow as pa

from segue import _engine
from segue.events import Events

DAY = 86_400_000_000
NOTHING_EXPIRED = -(2**63)
FIXTURES = Path(__file__).parents[1] / "fixtures"
DOC = Path(__file__).parents[2] / "docs" / "formats" / "manifest.md"


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def counted(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = varint(data, at)
    return data[at : at + size], at + size


def parse(data: bytes) -> dict:
    magic, version, crc, size = struct.unpack_from("<8sIIQ", data)
    body = data[24:]
    assert (magic, version, size) == (b"SEGUEMAN", 2, len(body))
    assert crc == _engine.testing.crc32c(body)
    store_id, at = counted(body, 0)
    schema, at = counted(body, at)
    window, next_file, flushed, floor, handoff, expired = struct.unpack_from("<q4Qq", body, at)
    count, at = varint(body, at + 48)
    tables = []
    for _ in range(count):
        fields = struct.unpack_from("<QQQqqQQq", body, at)
        first, at = counted(body, at + 64)
        last, at = counted(body, at)
        tables.append((*fields, first, last))
    count, at = varint(body, at)
    tokens = [struct.unpack_from("<5Q", body, at + 40 * i) for i in range(count)]
    at += 40 * count
    assert at == len(body)
    return {
        "store_id": store_id,
        "schema": schema,
        "window": window,
        "next_file": next_file,
        "flushed": flushed,
        "floor": floor,
        "handoff": handoff,
        "expired": expired,
        "tables": tables,
        "tokens": tokens,
    }


def test_the_documented_layout_is_the_written_one(tmp_path):
    schema = pa.schema({"k": pa.int64(), "at": pa.timestamp("us")})
    with Events.create(tmp_path / "t", "t", schema, "k", "at") as events:
        manifest = parse((tmp_path / "t" / "MANIFEST").read_bytes())
        assert manifest["store_id"].hex() == events.store_id
        example = re.search(r"```\n(02 .*?)```", DOC.read_text(), re.DOTALL)
        assert example is not None
        documented = "".join(
            match[0] for line in example[1].splitlines() if (match := re.match(r"( *[0-9a-f]{2}\b)*", line))
        )
        assert manifest["schema"] == bytes.fromhex(documented)
        assert (manifest["tables"], manifest["tokens"]) == ([], [])
        assert (manifest["window"], manifest["expired"]) == (DAY, NOTHING_EXPIRED)

        events.append_batch({"k": [5, -5], "at": [10, 20]})
        events.flush()
        events.record_handoff(7)
        manifest = parse((tmp_path / "t" / "MANIFEST").read_bytes())
        assert (manifest["flushed"], manifest["handoff"]) == (2, 7)
        (table,) = manifest["tables"]
        path = tmp_path / "t" / f"sst-{table[0]:06d}.sst"
        assert table[1:7] == (path.stat().st_size, 2, 10, 20, 1, 2)
        bias = 2**63
        assert table[7] == NOTHING_EXPIRED
        assert table[8:] == (struct.pack(">Q", bias - 5), struct.pack(">Q", bias + 5))


def golden_rows(n: int, days: tuple[int, ...] = (-1, 0, 1)) -> list[tuple[int, int, str]]:
    """What make_store_golden.py writes in one batch."""
    return [(i % 7, days[i % len(days)] * DAY + i, f"value {i}") for i in range(n)]


def stored(events: Events) -> list[tuple[int, int, str]]:
    found = events.snapshot().scan_sequences(0, 2**62, None, "n").to_arrow().sort_by("n")
    columns = (found["k"].to_pylist(), found["at"].cast(pa.int64()).to_pylist(), found["s"].to_pylist())
    return list(zip(*columns, strict=True))


def as_columns(rows: list[tuple[int, int, str]]) -> dict:
    return {name: [row[i] for row in rows] for i, name in enumerate(["k", "at", "s"])}


def test_the_golden_store_of_version_1_opens_and_goes_on(tmp_path):
    shutil.copytree(FIXTURES / "store_v1", tmp_path / "t")
    with Events.open(tmp_path / "t", "golden") as events:
        events.verify()
        assert stored(events) == golden_rows(60) + golden_rows(90)
        assert events.append_batch(as_columns(golden_rows(60)), token="first") == (1, 60)
        assert events.append(1, 2, "new") == 151
        events.flush()
    after = parse((tmp_path / "t" / "MANIFEST").read_bytes())
    assert (after["window"], after["handoff"]) == (DAY, 100)
    assert sum(table[2] for table in after["tables"]) == 151


def test_the_golden_store_of_version_2_opens_and_goes_on(tmp_path):
    shutil.copytree(FIXTURES / "store_v2", tmp_path / "t")
    before = parse((tmp_path / "t" / "MANIFEST").read_bytes())
    assert (before["window"], before["handoff"], before["expired"]) == (DAY, 100, 0)
    assert [table[7] for table in before["tables"]] == [NOTHING_EXPIRED] * 4 + [0]
    assert len(before["tokens"]) == 1
    kept = [row for row in golden_rows(60) + golden_rows(90) + golden_rows(15) if row[1] >= 0]
    with Events.open(tmp_path / "t", "golden") as events:
        events.verify()
        assert stored(events) == kept
        assert events.append_batch(as_columns(golden_rows(30, (-5,))), token="gone") == (166, 195)
        assert events.append(1, 2, "new") == 196
        events.compact()
        assert stored(events) == [*kept, (1, 2, "new")]
        assert events.append_batch(as_columns(golden_rows(30, (-5,))), token="gone") == (166, 195)
    after = parse((tmp_path / "t" / "MANIFEST").read_bytes())
    assert sum(table[2] for table in after["tables"]) == len(kept) + 1
    assert after["tokens"] == []
