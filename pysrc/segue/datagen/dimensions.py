"""The dimensions of the plays: every song and every artist."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segue.datagen.blocks import scatter, zipf_ranks
from segue.datagen.plays_stream import Plays
from segue.datagen.words import OPENINGS, distinct_names

SONG_COLUMNS: tuple[str, ...] = (
    "artist_id",
    "album_id",
    "genre_id",
    "label_id",
    "duration_ms",
    "release_year",
    "explicit",
)
"""What the nightly job joins from :func:`dim_songs`: with these and ``date`` a fact row has 20 columns."""


def song_attributes(options: Plays) -> dict[str, npt.NDArray[Any]]:
    """Return what a song is joined for, by its id, counted from 0; the title, which costs most, stays out."""
    n = options.songs
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([options.seed, 1 << 40])))
    artist = scatter(zipf_ranks(rng.random(n), options.artists, 0.5), options.artists)
    # An artist has some ten songs an album: an album belongs to one artist.
    album = artist * 16 + rng.integers(0, 16, n)
    bits = rng.integers(0, 1 << 62, n)
    return {
        "artist_id": artist.astype(np.int32),
        "album_id": album.astype(np.int32),
        "genre_id": (artist * 7919 % 126).astype(np.int16),
        "label_id": (artist * 104_729 % 5003).astype(np.int32),
        "duration_ms": (120_000 + bits % 180_000).astype(np.int32),
        "release_year": (2024 - (bits >> 20) % 1000 * ((bits >> 40) % 1000) // 16_000).astype(np.int16),
        "explicit": (bits >> 50) % 10 == 0,
    }


def dim_songs(options: Plays | None = None) -> pa.Table:
    """Every song of the stream: `song_id` 0..songs-1, its artist, album, genre, label, length, year, title.

    Examples
    --------
    >>> dim_songs(Plays(songs=3, artists=2)).column_names[:2]
    ['song_id', 'artist_id']
    """
    options = options or Plays()
    ids = np.arange(options.songs, dtype=np.int64)
    return pa.table(
        {
            "song_id": ids.astype(np.int32),
            **song_attributes(options),
            "title": distinct_names(ids, ("", "My ", "All the ", "Your ")),
        }
    )


def dim_artists(options: Plays | None = None) -> pa.Table:
    """Every artist of :func:`dim_songs`: `artist_id` and a distinct name, `artist`.

    Examples
    --------
    >>> dim_artists(Plays(artists=3)).column_names
    ['artist_id', 'artist']
    """
    options = options or Plays()
    ids = np.arange(options.artists, dtype=np.int64)
    return pa.table({"artist_id": ids.astype(np.int32), "artist": distinct_names(ids, OPENINGS)})
