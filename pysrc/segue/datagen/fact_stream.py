"""Facts: plays joined to their songs, as the nightly job writes them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from segue.datagen.blocks import BLOCK_ROWS, rebatch
from segue.datagen.dimensions import SONG_COLUMNS, song_attributes
from segue.datagen.plays_stream import PLAYS_SCHEMA, Plays, PlaysBlocks

_SONG_FIELDS = {
    "artist_id": pa.int32(),
    "album_id": pa.int32(),
    "genre_id": pa.int16(),
    "label_id": pa.int32(),
    "duration_ms": pa.int32(),
    "release_year": pa.int16(),
    "explicit": pa.bool_(),
}

FACTS_SCHEMA: pa.Schema = pa.schema(
    [*PLAYS_SCHEMA, *(pa.field(name, _SONG_FIELDS[name]) for name in SONG_COLUMNS), ("date", pa.date32())]
)
"""A fact row: the 12 columns of the event, 7 of the song, and the day (UTC) of the event's time."""

_DAY = 86_400_000_000


def facts(
    n: int, options: Plays | None = None, *, batch_rows: int = BLOCK_ROWS, threads: int = 1
) -> Iterator[pa.RecordBatch]:
    """Stream the facts of :func:`plays`, in the same order, as batches of :data:`FACTS_SCHEMA`.

    Parameters
    ----------
    n, options, batch_rows
        As for :func:`plays`.
    threads
        That make blocks ahead; the rows are the same with any number.

    Examples
    --------
    >>> batch = next(facts(1000, Plays(songs=10, artists=3)))
    >>> batch.num_rows, batch.num_columns
    (1000, 20)
    """
    options = options or Plays()
    blocks = PlaysBlocks(n, options)
    attributes = song_attributes(options)
    songs = [pa.array(attributes[name]) for name in SONG_COLUMNS]

    def columns(block: int) -> list[pa.Array]:
        made = blocks.columns(block)
        song, time = made[1], made[2]
        date = (time.view(pa.int64()).to_numpy() // _DAY).astype(np.int32)
        # Song ids count from 0 without gaps: the join is a lookup by position.
        return [*made, *(column.take(song) for column in songs), pa.array(date).view(pa.date32())]

    return rebatch(n, batch_rows, FACTS_SCHEMA, columns, threads)
