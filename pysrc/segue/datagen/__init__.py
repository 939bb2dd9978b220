"""Synthetic event streams and fact tables: fast, deterministic, larger than memory if need be.

The main stream, :func:`plays`, is a music service's: Zipf songs, skewed users and countries,
a day that has evenings, and events that arrive late. Its dimensions, :func:`dim_songs` and
:func:`dim_artists`, know every song in the stream, and :func:`facts` are the plays joined to
their songs, as the nightly job would write them. :func:`readings` (string key, nulls) and
:func:`trades` (two key columns, decimals) have nothing in common with it; they are there so
that tests and benchmarks do not mistake one schema for all. :func:`cached` keeps any of them
as files, in folders by date.

Row ``i`` of a stream depends on the options and on ``i`` alone, never on the batch size, the
number of threads or the process.

Examples
--------
>>> from segue import datagen
>>> options = datagen.Plays(users=1000, songs=500, artists=50, seed=7)
>>> batch = next(datagen.plays(10_000, options, batch_rows=4096))
>>> batch.num_rows, batch.schema.names[:3]
(4096, ['user_id', 'song_id', 'timestamp'])
>>> datagen.dim_songs(options).num_rows
500
"""

from __future__ import annotations

from segue.datagen.cache import GENERATOR_VERSION, cache_directory, cached, clear_cache
from segue.datagen.dimensions import SONG_COLUMNS, dim_artists, dim_songs
from segue.datagen.fact_stream import FACTS_SCHEMA, facts
from segue.datagen.plays_stream import PLAYS_SCHEMA, Plays, plays, plays_table
from segue.datagen.readings_stream import READINGS_SCHEMA, dim_sensors, readings
from segue.datagen.trades_stream import TRADES_SCHEMA, dim_symbols, trades
from segue.datagen.words import COUNTRIES

__all__ = [
    "COUNTRIES",
    "FACTS_SCHEMA",
    "GENERATOR_VERSION",
    "PLAYS_SCHEMA",
    "READINGS_SCHEMA",
    "SONG_COLUMNS",
    "TRADES_SCHEMA",
    "Plays",
    "cache_directory",
    "cached",
    "clear_cache",
    "dim_artists",
    "dim_sensors",
    "dim_songs",
    "dim_symbols",
    "facts",
    "plays",
    "plays_table",
    "readings",
    "trades",
]
