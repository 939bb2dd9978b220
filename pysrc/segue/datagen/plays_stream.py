"""The stream of plays: Zipf songs, skewed users and countries, evenings, late events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from segue.datagen.blocks import (
    BLOCK_ROWS,
    Ints,
    dictionary,
    dictionary_type,
    micros,
    mix,
    rebatch,
    scatter,
    weighted_lookup,
    zipf_ranks,
)
from segue.datagen.words import COUNTRIES, DEVICES, HOURS, PLATFORMS

PLAYS_SCHEMA: pa.Schema = pa.schema(
    [
        ("user_id", pa.int64()),
        ("song_id", pa.int32()),
        ("timestamp", pa.timestamp("us")),
        ("country", dictionary_type()),
        ("device", dictionary_type()),
        ("ms_played", pa.int32()),
        ("session", pa.int64()),
        ("city", dictionary_type()),
        ("platform", dictionary_type()),
        ("app_version", dictionary_type()),
        ("shuffle", pa.bool_()),
        ("offline", pa.bool_()),
    ]
)
"""The event table: 12 columns."""


@dataclass(frozen=True)
class Plays:
    """Options of the plays stream.

    Examples
    --------
    >>> Plays(days=7).end - Plays().start
    datetime.timedelta(days=7)
    """

    users: int = 10_000_000
    """How many users there may be; skewed by `user_skew`."""
    songs: int = 1_000_000
    artists: int = 100_000
    countries: int = 180
    devices: int = 8
    start: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    """First moment of the stream. UTC."""
    days: float = 5.0
    """Time that the stream spans; the rows are spread over it in order of arrival."""
    late_share: float = 0.01
    """Share of the events that arrive up to `late_days` after they happened (phones in planes)."""
    late_days: float = 2.0
    user_skew: float = 0.6
    """Zipf exponent of the users: 0 is uniform."""
    song_skew: float = 1.0
    """Zipf exponent of the songs."""
    country_skew: float = 1.1
    seed: int = 42

    def __post_init__(self) -> None:
        if not (self.users > 0 and self.songs > 0 and self.artists > 0 and self.days > 0):
            raise ValueError("users, songs, artists and days must be positive")
        if not (0 < self.countries <= len(COUNTRIES) and 0 < self.devices <= len(DEVICES)):
            raise ValueError(f"at most {len(COUNTRIES)} countries and {len(DEVICES)} devices are known")
        if not (0.0 <= self.late_share <= 1.0 and self.late_days >= 0):
            raise ValueError("late_share is a share between 0 and 1, late_days at least 0")

    @property
    def end(self) -> datetime:
        """Exclusive end of the stream."""
        return datetime.fromtimestamp(self.start.timestamp() + self.days * 86400, UTC)


class PlaysBlocks:
    """Lookup tables of one stream, and the columns of any of its blocks."""

    CITIES_PER_COUNTRY = 12
    VERSIONS = 40
    LOOKUP_BITS = 16

    def __init__(self, n: int, options: Plays) -> None:
        self.n = n
        self.options = options
        slots = 1 << self.LOOKUP_BITS
        ranks = np.arange(1, options.countries + 1, dtype=np.float64)
        self.country_of = weighted_lookup(ranks**-options.country_skew, slots)
        self.device_of = weighted_lookup(np.array([58, 17, 9, 5, 4, 4, 2, 1.0])[: options.devices], 256)
        self.platform_of = weighted_lookup(np.array([46, 33, 9, 6, 5, 1.0]), 256)
        self.version_of = weighted_lookup(0.85 ** np.arange(self.VERSIONS, dtype=np.float64), 256)
        self.countries = pa.array(COUNTRIES[: options.countries], pa.string())
        self.devices = pa.array(DEVICES[: options.devices], pa.string())
        self.platforms = pa.array(PLATFORMS, pa.string())
        self.versions = pa.array([f"9.{v // 4}.{v % 4}" for v in range(self.VERSIONS)], pa.string())
        cities = [
            f"{c}-{k + 1:02d}" for c in COUNTRIES[: options.countries] for k in range(self.CITIES_PER_COUNTRY)
        ]
        self.cities = pa.array(cities, pa.string())
        hours = np.array(HOURS, dtype=np.float64)
        # Fraction of the day's plays -> fraction of the day, at 4096 points: cheaper than a search.
        grid = (np.arange(4096) + 0.5) / 4096
        self.day_curve = np.interp(
            grid, np.concatenate([[0.0], np.cumsum(hours) / hours.sum()]), np.arange(25) / 24
        )
        self.start = micros(options.start)
        self.span = int(options.days * 86_400_000_000)

    def timestamps(self, first: int, count: int, rng: np.random.Generator) -> Ints:
        """Order of arrival with a day's rhythm; a share of them moved back by what made them late."""
        jitter = rng.random(count)
        day = (np.arange(first, first + count) + jitter) * (self.options.days / max(self.n, 1))
        whole = np.floor(day)
        within = day - whole
        slot = (within * 4096).astype(np.int64)
        np.minimum(slot, 4095, out=slot)
        # The remainder of the slot is kept, so that times do not fall on 4096 instants a day.
        within = self.day_curve[slot] + (within * 4096 - slot - 0.5) * (1 / 4096)
        times = ((whole + within) * 86_400_000_000).astype(np.int64)
        late = rng.integers(0, 1 << 32, count, dtype=np.uint32) < self.options.late_share * (1 << 32)
        places = np.flatnonzero(late)
        if len(places):
            delay = rng.random(len(places)) ** 2 * (self.options.late_days * 86_400_000_000)
            times[places] -= delay.astype(np.int64)
        np.clip(times, 0, self.span - 1, out=times)
        return times + self.start

    def columns(self, block: int) -> list[pa.Array]:
        """Return the columns of one block, in the order of the schema."""
        first = block * BLOCK_ROWS
        count = min(BLOCK_ROWS, self.n - first)
        options = self.options
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([options.seed, block])))
        users = scatter(zipf_ranks(rng.random(count), options.users, options.user_skew), options.users)
        songs = scatter(zipf_ranks(rng.random(count), options.songs, options.song_skew), options.songs)
        times = self.timestamps(first, count, rng)
        noise = rng.integers(0, 1 << 63, count, dtype=np.uint64)

        # What belongs to a user follows from the user: a country, a city in it, one main device.
        traits = mix(users)
        country = self.country_of[(traits >> np.uint64(64 - self.LOOKUP_BITS)).view(np.int64)]
        city = country * np.int32(self.CITIES_PER_COUNTRY)
        city += ((traits >> np.uint64(32)) & np.uint64(0xFF)).astype(np.int32) * np.int32(
            self.CITIES_PER_COUNTRY
        ) >> 8
        away = noise & np.uint64(7) == 0  # one play in eight is on another device
        device_slot = np.where(away, noise >> np.uint64(40), traits >> np.uint64(24)) & np.uint64(0xFF)
        platform_slot = np.where(away, noise >> np.uint64(48), traits >> np.uint64(16)) & np.uint64(0xFF)
        version_slot = ((traits >> np.uint64(8)) + (noise >> np.uint64(62))) & np.uint64(0xFF)

        # A quarter is skipped within 30 s; the others run to a length between two and five minutes.
        played = ((noise >> np.uint64(8)) & np.uint64(0xFFFF)).astype(np.int32)
        skipped = (noise & np.uint64(0x18)) == 0
        ms_played = np.where(skipped, played * 30_000 >> 16, 120_000 + (played * 175 >> 6)).astype(np.int32)
        # A session is one user's plays within the same four hours.
        session = (users << 24) + (times // 14_400_000_000 & 0xFFFFFF)

        return [
            pa.array(users),
            pa.array(songs.astype(np.int32)),
            pa.array(times).view(pa.timestamp("us")),
            dictionary(country, self.countries),
            dictionary(self.device_of[device_slot.view(np.int64)], self.devices),
            pa.array(ms_played),
            pa.array(session),
            dictionary(city, self.cities),
            dictionary(self.platform_of[platform_slot.view(np.int64)], self.platforms),
            dictionary(self.version_of[version_slot.view(np.int64)], self.versions),
            pa.array((noise >> np.uint64(32)) & np.uint64(3) == 0),
            pa.array((noise >> np.uint64(34)) & np.uint64(15) == 0),
        ]


def plays(
    n: int, options: Plays | None = None, *, batch_rows: int = BLOCK_ROWS, threads: int = 1
) -> Iterator[pa.RecordBatch]:
    """Streams `n` plays in order of arrival, as record batches of :data:`PLAYS_SCHEMA`.

    Parameters
    ----------
    n
        Number of events.
    options
        Sizes, days, skew, share of late events, seed.
    batch_rows
        Rows in each batch but the last.
    threads
        That make blocks ahead; the rows are the same with any number.

    Yields
    ------
    pyarrow.RecordBatch

    Examples
    --------
    >>> sum(batch.num_rows for batch in plays(100_000, Plays(songs=10, artists=3)))
    100000
    """
    blocks = PlaysBlocks(n, options or Plays())
    return rebatch(n, batch_rows, PLAYS_SCHEMA, blocks.columns, threads)


def plays_table(n: int, options: Plays | None = None) -> pa.Table:
    """All of :func:`plays` as one table, for tests and small runs."""
    return pa.Table.from_batches(list(plays(n, options)), PLAYS_SCHEMA)
