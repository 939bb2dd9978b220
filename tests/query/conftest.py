"""A small lake, and DuckDB over the same data."""

from __future__ import annotations

import datetime as dt
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segue.relations import ArrowRelation, DataFile, EventsRelation, ParquetRelation, Relation

COUNTRIES = ["SE", "NO", None, "DK", "FI", "IS"]


def fact_rows(day: int, rows: int, start: int = 0) -> pa.Table:
    """Rows of one day's file; every artist id up to 12, of which the dimension knows 10."""
    n = range(start, start + rows)
    return pa.table(
        {
            "user_id": pa.array([i * 7 % 50 for i in n], pa.int64()),
            "artist_id": pa.array([i * i % 13 if i % 17 else None for i in n], pa.int32()),
            "country": pa.array([COUNTRIES[(i + day) % 6] for i in n]).dictionary_encode(),
            "ms_played": pa.array([i * 1000 % 300_000 for i in n], pa.int32()),
            "skipped": pa.array([[True, False, None][i % 3] for i in n], pa.bool_()),
            "score": pa.array([i / 8 for i in n], pa.float64()),
        }
    )


FACT_SCHEMA = fact_rows(1, 1).schema.append(pa.field("date", pa.date32()))


class Lake:
    """Relations by name, as a database would resolve them."""

    def __init__(self, relations: dict[str, Relation]) -> None:
        self.relations = relations
        self.original = list(relations)
        self.reads: list[list[str] | None] = []
        """Columns of each read of the event table."""

    def resolve(self, name: str) -> Relation | None:
        return self.relations.get(name)

    def names(self) -> list[str]:
        return list(self.relations)


@pytest.fixture(scope="session")
def fact_files(tmp_path_factory: pytest.TempPathFactory) -> list[DataFile]:
    root = tmp_path_factory.mktemp("lake") / "fact_plays"
    files = []
    for day in range(1, 6):
        date = dt.date(2023, 12, 29) + dt.timedelta(days=day)
        folder = root / f"date={date}"
        folder.mkdir(parents=True)
        for part in range(2):
            path = folder / f"part-{part}.parquet"
            table = fact_rows(day, 150, start=day * 1000 + part * 500)
            pq.write_table(table, path, row_group_size=64)
            files.append(DataFile(str(path), table.num_rows, path.stat().st_size, {"date": date}))
    return files


def fresh_rows() -> pa.Table:
    table = fact_rows(3, 40, start=77)
    dates = [dt.date(2024, 1, 2) if i % 2 else dt.date(2023, 12, 31) for i in range(40)]
    return table.append_column(pa.field("date", pa.date32()), pa.array(dates))


@pytest.fixture
def lake(fact_files: list[DataFile]) -> Lake:
    return make_lake(fact_files)


def make_lake(fact_files: list[DataFile]) -> Lake:
    artists = pa.table(
        {
            "artist_id": pa.array(range(10), pa.int64()),
            "artist": pa.array([f"artist {i % 8}" if i != 9 else None for i in range(10)]),
            "genre": pa.array([["rock", "pop", "jazz"][i % 3] for i in range(10)]).dictionary_encode(),
        }
    )
    countries = pa.table(
        {"code": ["SE", "NO", "DK", "FI"], "name": ["Sweden", "Norway", "Denmark", "Finland"]}
    )
    events = pa.table(
        {
            "user_id": pa.array(range(20), pa.int64()),
            "song_id": pa.array([i % 5 for i in range(20)], pa.int32()),
            "timestamp": pa.array([i * 1_000_000 for i in range(20)], pa.timestamp("us")),
            "device": pa.array(["phone", "web"] * 10).dictionary_encode(),
        },
        schema=pa.schema(
            [
                pa.field("user_id", pa.int64(), nullable=False),
                pa.field("song_id", pa.int32()),
                pa.field("timestamp", pa.timestamp("us"), nullable=False),
                pa.field("device", pa.dictionary(pa.int32(), pa.string())),
            ]
        ),
    )

    def reader(columns: list[str] | None) -> pa.RecordBatchReader:
        made.reads.append(columns)
        return (events if columns is None else events.select(columns)).to_reader(max_chunksize=7)

    made = Lake(
        {
            "fact_plays": ParquetRelation(
                "fact_plays", FACT_SCHEMA, tuple(fact_files), ("date",), version=3, fresh=fresh_rows
            ),
            "fact_empty": ParquetRelation("fact_empty", FACT_SCHEMA, (), ("date",), version=0, fresh=None),
            "dim_artists": ArrowRelation("dim_artists", artists, "artist_id"),
            "dim_countries": ArrowRelation("dim_countries", countries, "code"),
            "listens": EventsRelation("listens", events.schema, reader),
        }
    )
    return made


@pytest.fixture
def root(fact_files: list[DataFile]) -> pathlib.Path:
    return pathlib.Path(fact_files[0].path).parent.parent


class Reference:
    """Plain DuckDB over the same data: what every answer is held against."""

    def __init__(self, lake: Lake, *, fresh: bool = False) -> None:
        import duckdb

        self.connection = duckdb.connect(":memory:")
        self.connection.execute("SET TimeZone = 'UTC'")
        for name, relation in lake.relations.items():
            if isinstance(relation, ArrowRelation):
                self.connection.register(name, relation.table)
            elif isinstance(relation, EventsRelation):
                self.connection.register(name, relation.reader(None).read_all())
            else:
                tables = [
                    pq.read_table(file.path, partitioning=None).append_column(
                        "date", pa.array([file.partition["date"]] * file.rows, pa.date32())
                    )
                    for file in relation.files
                ]
                if fresh and relation.fresh is not None:
                    tables.append(relation.fresh())
                rows = (
                    pa.concat_tables(tables, promote_options="permissive")
                    if tables
                    else relation.schema.empty_table()
                )
                self.connection.register(name, rows)

    def __call__(self, statement: str) -> pa.Table:
        return self.connection.sql(statement).to_arrow_table()


def assert_same(found: pa.Table, expected: pa.Table, *, ordered: bool = False) -> None:
    """The same names, types and rows; in the same order where it is determined."""
    assert found.column_names == expected.column_names
    assert found.schema.types == expected.schema.types
    rows = [list(zip(*(c.to_pylist() for c in t.columns), strict=True)) for t in (found, expected)]
    if not ordered:
        rows = [sorted(some, key=repr) for some in rows]
    assert rows[0] == rows[1]


@pytest.fixture(scope="session")
def references(fact_files: list[DataFile]) -> dict[bool, Reference]:
    """DuckDB over the unchanged lake, without and with fresh rows; opening one is slow."""
    return {fresh: Reference(make_lake(fact_files), fresh=fresh) for fresh in (False, True)}


@pytest.fixture
def reference(lake: Lake, references: dict[bool, Reference]):
    """``reference(statement, fresh=False)``: DuckDB's own answer."""

    def answer(statement: str, *, fresh: bool = False) -> pa.Table:
        unchanged = lake.names() == lake.original
        return (references[fresh] if unchanged else Reference(lake, fresh=fresh))(statement)

    return answer


@pytest.fixture
def same():
    """``same(found, expected, ordered=False)``."""
    return assert_same


@pytest.fixture
def run(lake: Lake):
    """``run(statement, **options)`` over the lake."""
    from segue import query

    def call(statement: str, **options):
        return query.run(statement, lake.resolve, names=lake.names, **options)

    return call
