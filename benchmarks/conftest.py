"""What the suites share: the scale option and one stream of plays, its warehouse and its kernels' inputs.

pip install '.[bench]' && pytest benchmarks/
pytest benchmarks/ --scale medium
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import segue
from segue import datagen

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = {"small": 400_000, "medium": 10_000_000, "large": 100_000_000}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scale", choices=sorted(ROWS), default="small", help="rows: 400 K, 10 M or 100 M")


@pytest.fixture(scope="session")
def rows(request: pytest.FixtureRequest) -> int:
    return ROWS[request.config.getoption("--scale")]


@pytest.fixture(scope="session")
def options() -> datagen.Plays:
    return datagen.Plays(users=100_000, songs=100_000, artists=10_000, seed=1)


@pytest.fixture(scope="session")
def batches(rows: int, options: datagen.Plays) -> list[pa.RecordBatch]:
    """The plays in batches of 1000, as a service would send them."""
    return list(datagen.plays(rows, options, batch_rows=1000))


@pytest.fixture(scope="session")
def database(
    tmp_path_factory: pytest.TempPathFactory, batches: list[pa.RecordBatch], options: datagen.Plays
) -> Iterator[segue.Database]:
    """All plays appended, both dimensions stored, nothing run yet."""
    with segue.open(tmp_path_factory.mktemp("bench") / "db", durability="os") as db:
        plays = db.create_events("listens", batches[0].schema, key="user_id", time="timestamp")
        for batch in batches:
            plays.append_batch(batch)
        db.put_dimension("dim_songs", datagen.dim_songs(options), key="song_id")
        db.put_dimension("dim_artists", datagen.dim_artists(options), key="artist_id")
        yield db
