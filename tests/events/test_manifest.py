"""The manifest, read by a second implementation from docs/formats/manifest.md."""

from __future__ import annotations

import re
import shutil
import struct
from pathlib import Path

import pyarrow as pa
import pytest

from segue import _engine
from segue.events import Events

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
        assert (manifest["window"], manifest["expired"]) == (86_400_000_000, NOTHING_EXPIRED)

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


@pytest.mark.parametrize("version", [1])
def test_golden_stores_open_and_go_on(tmp_path, version):
    shutil.copytree(FIXTURES / f"store_v{version}", tmp_path / "t")
    rows = [(i % 7, (i % 3 - 1) * 86_400_000_000 + i, f"value {i}") for i in [*range(60), *range(90)]]
    with Events.open(tmp_path / "t", "golden") as events:
        events.verify()
        found = events.snapshot().scan_sequences(0, 2**62, None, "n").to_arrow().sort_by("n")
        columns = (found["k"].to_pylist(), found["at"].cast(pa.int64()).to_pylist(), found["s"].to_pylist())
        assert list(zip(*columns, strict=True)) == rows
        again = {name: [row[i] for row in rows[:60]] for i, name in enumerate(["k", "at", "s"])}
        assert events.append_batch(again, token="first") == (1, 60)
        assert events.append(1, 2, "new") == 151
        events.flush()
    after = parse((tmp_path / "t" / "MANIFEST").read_bytes())
    assert (after["window"], after["handoff"]) == (86_400_000_000, 100)
    assert sum(table[2] for table in after["tables"]) == 151
