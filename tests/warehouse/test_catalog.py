from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import segue
from segue.catalog import (
    Catalog,
    CatalogState,
    DimensionEntry,
    EventsEntry,
    FactEntry,
    PipelineEntry,
    check_name,
    decode,
    encode,
)
from segue.pipeline import PipelineDefinition

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
states = st.builds(
    CatalogState,
    database_id=st.text(),
    events=st.dictionaries(
        names, st.builds(EventsEntry, st.text(), st.lists(st.text()).map(tuple), st.text())
    ),
    dimensions=st.dictionaries(
        names, st.builds(DimensionEntry, st.text(), st.text(), st.integers(), st.integers())
    ),
    facts=st.dictionaries(names, st.builds(FactEntry, st.lists(st.text()).map(tuple))),
    pipelines=st.dictionaries(
        st.text(),
        st.builds(PipelineEntry, names, names, st.text(), st.dictionaries(st.text(), st.integers())),
    ),
)


@given(states)
def test_a_state_reads_back_as_it_was_written(state: CatalogState) -> None:
    assert decode(encode(state)) == state


@given(states, st.data())
def test_no_changed_byte_goes_unnoticed(state: CatalogState, data: st.DataObject) -> None:
    content = bytearray(encode(state))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    try:
        seen = decode(bytes(content))
    except (segue.CorruptionError, segue.UnsupportedError):
        return
    # White space and the spelling of an escape may change; what they say may not.
    assert seen == state


@given(st.binary())
def test_bytes_that_are_no_catalog_are_refused(content: bytes) -> None:
    with pytest.raises(segue.CorruptionError):
        decode(content)


def test_a_damaged_catalog_says_where(tmp_path: Path) -> None:
    segue.open(tmp_path).close()
    path = tmp_path / "catalog"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(segue.CorruptionError, match=r"catalog .* is damaged") as e:
        segue.open(tmp_path)
    assert e.value.path == str(path)
    assert e.value.offset > 0


def test_a_changed_field_fails_the_checksum(tmp_path: Path) -> None:
    segue.open(tmp_path).close()
    path = tmp_path / "catalog"
    document = json.loads(path.read_text())
    document["body"]["database_id"] = "0"
    path.write_text(json.dumps(document))
    with pytest.raises(segue.CorruptionError, match="checksum"):
        segue.open(tmp_path)


def test_a_newer_format_asks_for_an_upgrade(tmp_path: Path) -> None:
    segue.open(tmp_path).close()
    path = tmp_path / "catalog"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(segue.UnsupportedError, match=r"format 2.*upgrade"):
        segue.open(tmp_path)


def test_a_lost_catalog_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    with segue.open(tmp_path) as db:
        db.put_dimension("d", {"k": [1]}, key="k")
    (tmp_path / "catalog").unlink()
    with pytest.raises(segue.CorruptionError, match="gone"):
        segue.open(tmp_path)


def test_a_failed_change_leaves_the_catalog_alone(tmp_path: Path) -> None:
    segue.open(tmp_path).close()
    catalog = Catalog(tmp_path)
    before = catalog.path.read_bytes()

    def change(state: CatalogState) -> tuple[CatalogState, None]:
        raise KeyError("no")

    with pytest.raises(KeyError):
        catalog.update(change)
    assert catalog.path.read_bytes() == before
    catalog.update(lambda state: (state, None))
    assert catalog.path.read_bytes() == before


def test_the_example_of_the_format_page_reads() -> None:
    page = (Path(__file__).parents[2] / "docs" / "formats" / "catalog.md").read_text()
    example = re.search(r"## Example\n\n```json\n(.*?)```", page, re.DOTALL)
    assert example is not None
    state = decode(example[1].encode())
    assert state.find("FACT_PLAYS") == ("fact", "fact_plays")
    pipeline = PipelineDefinition.from_json(state.pipelines["listens:fact_plays"].definition)
    assert pipeline.to_json() == state.pipelines["listens:fact_plays"].definition
    assert pipeline.id == "listens:fact_plays"
    assert decode(encode(state)) == state


@pytest.mark.parametrize("name", ["", "a b", "a-b", "é", "1a", "a/b", "..", "a" * 129, "a\n", None, 7])
def test_bad_names(name: str) -> None:
    with pytest.raises(segue.InvalidError, match="cannot name a table"):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "A_1", "_x", "a" * 128])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


def test_names_are_found_without_case() -> None:
    state = CatalogState(
        "x", facts={"Fact": FactEntry(())}, dimensions={"dim": DimensionEntry("k", "f", 1, 1)}
    )
    assert state.find("FACT") == ("fact", "Fact")
    assert state.find("Dim") == ("dimension", "dim")
    assert state.find("other") is None
    with pytest.raises(segue.InvalidError, match="'Fact' is already the name of a fact table"):
        state.require_free("fact")


def test_processes_that_change_it_at_once_lose_nothing(tmp_path: Path) -> None:
    segue.open(tmp_path).close()
    code = (
        "import sys, segue\n"
        "with segue.open(sys.argv[1], mode='r') as db:\n"
        "    for i in range(10): db.put_dimension(f'd{sys.argv[2]}_{i}', {'k': [i]}, key='k')\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(p)]) for p in range(4)]
    assert [p.wait(60) for p in processes] == [0] * 4
    with segue.open(tmp_path, mode="r") as db:
        assert len(db.catalog.read().dimensions) == 40
        assert db.dimension("d3_9").table.to_pydict() == {"k": [9]}
