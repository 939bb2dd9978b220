"""Files that earlier builds wrote read as they always did; the damaged one is still noticed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pyarrow as pa
import pytest

from segue import _engine
from segue.errors import CorruptionError

FIXTURES = Path(__file__).parents[1] / "fixtures"
GOLDEN = sorted(p for p in FIXTURES.glob("sstable_v*_*.sst") if "corrupt" not in p.name)
CORRUPT = sorted(FIXTURES.glob("sstable_v*_corrupt.sst"))

spec = importlib.util.spec_from_file_location("make_sstable_golden", FIXTURES / "make_sstable_golden.py")
assert spec
assert spec.loader
maker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(maker)


class Stream:
    def __init__(self, capsule):
        self.capsule = capsule

    def __arrow_c_stream__(self, requested_schema=None):
        return self.capsule


def test_the_fixtures_are_there():
    assert [p.stem for p in GOLDEN] == [
        "sstable_v1_plays",
        "sstable_v1_types",
        "sstable_v2_plays",
        "sstable_v2_types",
    ]
    assert [p.stem for p in CORRUPT] == ["sstable_v1_corrupt", "sstable_v2_corrupt"]
    for path in GOLDEN + CORRUPT:
        assert path.stem.split("_")[1] == f"v{int.from_bytes(path.read_bytes()[-16:-12], 'little')}"


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden_files_read_as_they_always_did(path):
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    reader = _engine.testing.SstReader(str(path))
    reader.verify()
    table = pa.table(Stream(reader.read(None, "seq")))
    table.validate(full=True)
    assert table["seq"].to_pylist() == expected["sequences"]
    table = table.drop(["seq"])
    assert {f.name: str(f.type) for f in table.schema} == expected["schema"]
    assert maker.as_json(table) == expected["columns"]
    info = reader.info()
    assert [list(t) for t in info["tokens"]] == expected["tokens"]
    meta = {k: info[k].hex() if isinstance(info[k], bytes) else info[k] for k in expected["meta"]}
    assert meta == expected["meta"]
    batch = _engine.testing.Batch(table.schema.__arrow_c_schema__(), expected["key"], expected["time"])
    batch.append(table.__arrow_c_stream__())
    assert all(reader.may_contain_key(batch, row) for row in range(len(table)))


@pytest.mark.parametrize("path", CORRUPT, ids=lambda p: p.stem)
def test_the_damaged_file_is_noticed_where_it_is_damaged(path):
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    reader = _engine.testing.SstReader(str(path))
    for read in (
        reader.verify,
        lambda: reader.read([expected["column"]]),
        lambda: reader.read(None, "", [1]),
    ):
        with pytest.raises(
            CorruptionError, match=f"'{expected['column']}' in block {expected['block']}"
        ) as caught:
            read()
        assert caught.value.offset == expected["offset"]
    sound = pa.table(Stream(reader.read(["user_id"], "", [0, 2])))
    blocks = reader.info()["blocks"]
    assert len(blocks) == 3
    assert sound.num_rows == blocks[0]["rows"] + blocks[2]["rows"]
