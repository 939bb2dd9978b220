"""The manifest, read by a second implementation from docs/formats/manifest.md."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pyarrow as pa

from segue import _engine
from segue.events import Events

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
    assert (magic, version, size) == (b"SEGUEMAN", 1, len(body))
    assert crc == _engine.testing.crc32c(body)
    store_id, at = counted(body, 0)
    schema, at = counted(body, at)
    next_file, flushed, floor, handoff = struct.unpack_from("<4Q", body, at)
    count, at = varint(body, at + 32)
    tables = []
    for _ in range(count):
        fields = struct.unpack_from("<QQQqqQQ", body, at)
        first, at = counted(body, at + 56)
        last, at = counted(body, at)
        tables.append((*fields, first, last))
    assert at == len(body)
    return {
        "store_id": store_id,
        "schema": schema,
        "next_file": next_file,
        "flushed": flushed,
        "floor": floor,
        "handoff": handoff,
        "tables": tables,
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
        assert manifest["tables"] == []

        events.append_batch({"k": [5, -5], "at": [10, 20]})
        events.flush()
        events.record_handoff(7)
        manifest = parse((tmp_path / "t" / "MANIFEST").read_bytes())
        assert (manifest["flushed"], manifest["handoff"]) == (2, 7)
        (table,) = manifest["tables"]
        path = tmp_path / "t" / f"sst-{table[0]:06d}.sst"
        assert table[1:7] == (path.stat().st_size, 2, 10, 20, 1, 2)
        bias = 2**63
        assert table[7:] == (struct.pack(">Q", bias - 5), struct.pack(">Q", bias + 5))
