"""Synthetic event streams: fast, deterministic, larger than memory if need be.

The main one, :func:`plays`, is a music service's stream of plays: Zipf songs, skewed
users and countries, a day that has evenings, and events that arrive late. Its dimensions,
:func:`dim_songs` and :func:`dim_artists`, know every song in the stream. :func:`readings`
(string key, nulls) and :func:`trades` (two key columns, decimals) have nothing in common
with it; they are there so that tests and benchmarks do not mistake one schema for all.

Row ``i`` of a stream depends on the options and on ``i`` alone, never on the batch size.

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

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "COUNTRIES",
    "PLAYS_SCHEMA",
    "READINGS_SCHEMA",
    "SONG_COLUMNS",
    "TRADES_SCHEMA",
    "Plays",
    "dim_artists",
    "dim_sensors",
    "dim_songs",
    "dim_symbols",
    "plays",
    "plays_table",
    "readings",
    "trades",
]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# The unit of generation: each block has a generator of its own, so that a stream can be
# cut anywhere, and small enough for its columns to stay in the cache.
BLOCK_ROWS = 1 << 16

# fmt: off
# Ordered roughly by listeners; the weights follow Zipf over this order.
COUNTRIES: tuple[str, ...] = tuple((  # noqa: SIM905
    "US BR MX GB DE IN ID FR ES IT PH CA AU AR TR CO PL NL CL PE SE TH MY JP VN NO ZA PT BE EC DK FI SG "
    "TW RO CZ GR HU IE NZ CH AT IL EG SA AE KR HK UA UY CR GT BO PY DO PA SV HN NI VE MA PK BD NG KE GH "
    "TZ UG LK NP KZ BG RS HR SK SI LT LV EE IS LU MT CY AL MK BA ME MD BY GE AM AZ UZ KG TJ TM MN LB JO "
    "KW QA OM BH IQ LY TN DZ SN CI CM AO MZ ZM ZW BW NA SZ LS MW RW BI ET DJ SO MG MU SC CV GM GN GW SL "
    "LR ML BF NE TD CF CG CD GA GQ ST BJ TG KM MR JM TT BB BS BZ GY SR HT CU LC VC GD AG DM KN FJ PG SB "
    "VU WS TO KI TV NR PW FM MH KH LA MM BN MO TL BT MV AD MC LI SM"
).split()[:180])
_DEVICES = ("phone", "desktop", "speaker", "tablet", "tv", "car", "watch", "console")
_PLATFORMS = ("android", "ios", "windows", "macos", "web", "linux")
_ADJECTIVES = (  # noqa: SIM905
    "Amber Broken Burning Cold Crimson Crystal Dancing Distant Electric Empty Endless Fading Falling "
    "Fearless Frozen Gentle Golden Hidden Hollow Humble Iron Ivory Jaded Lonely Lost Loud Lucky Lunar "
    "Marble Midnight Misty Neon Nervous Northern Open Paper Pale Plastic Quiet Restless Rising Royal "
    "Rusty Sacred Silent Silver Sleeping Solar Southern Stolen Sudden Tender Thin Tidal Velvet Wandering "
    "Warm Wild Wooden Young"
).split()
_NOUNS = (  # noqa: SIM905
    "Anchors Arrows Bells Birds Bridges Candles Cities Clouds Comets Crowns Deserts Doors Dreams Echoes "
    "Embers Engines Feathers Fields Fires Foxes Gardens Ghosts Harbors Hearts Horses Islands Keys Kites "
    "Lanterns Letters Lights Lions Mirrors Moons Mountains Oceans Orchards Owls Pilots Planets Poets "
    "Rivers Roads Roses Sails Saints Satellites Shadows Signals Sparrows Stars Stones Storms Strangers "
    "Thieves Tigers Trains Valleys Waves Wolves"
).split()
_OPENINGS = (
    "", "The ", "DJ ", "Los ", "Saint ", "King ", "Lady ", "Little ", "Old ", "New ", "Young ", "Mister ",
    "Captain ", "Doctor ", "Sister ", "Brother ", "Uncle ", "Black ", "White ", "Blue ",
    "Red ", "Big ", "Black & ",
    "Radio ",
    "Hotel ", "Club ", "Studio ", "Café ", "Señor ", "Björn & the ",
)
# Share of a day's plays in each hour (UTC): a trough at night, a peak in the evening.
_HOURS = (22, 17, 14, 12, 12, 15, 22, 32, 41, 45, 46, 48, 51, 52, 53, 56, 61, 66, 68, 66, 61, 53, 43, 31)
# fmt: on


def _dictionary_type() -> pa.DataType:
    return pa.dictionary(pa.int32(), pa.string())


PLAYS_SCHEMA: pa.Schema = pa.schema(
    [
        ("user_id", pa.int64()),
        ("song_id", pa.int32()),
        ("timestamp", pa.timestamp("us")),
        ("country", _dictionary_type()),
        ("device", _dictionary_type()),
        ("ms_played", pa.int32()),
        ("session", pa.int64()),
        ("city", _dictionary_type()),
        ("platform", _dictionary_type()),
        ("app_version", _dictionary_type()),
        ("shuffle", pa.bool_()),
        ("offline", pa.bool_()),
    ]
)
"""The event table: 12 columns."""

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

READINGS_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("sensor", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("ms", "UTC"), nullable=False),
        ("value", pa.float64()),
        ("ok", pa.bool_()),
        ("unit", _dictionary_type()),
        ("note", pa.string()),
        ("battery", pa.float32()),
    ]
)

TRADES_SCHEMA: pa.Schema = pa.schema(
    [
        ("account", pa.int64()),
        ("symbol", pa.string()),
        ("executed", pa.timestamp("ns")),
        ("price", pa.decimal128(12, 4)),
        ("quantity", pa.uint32()),
        ("settles", pa.date32()),
        ("venue", _dictionary_type()),
        ("buy", pa.bool_()),
    ]
)


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
        if not (0 < self.countries <= len(COUNTRIES) and 0 < self.devices <= len(_DEVICES)):
            raise ValueError(f"at most {len(COUNTRIES)} countries and {len(_DEVICES)} devices are known")
        if not (0.0 <= self.late_share <= 1.0 and self.late_days >= 0):
            raise ValueError("late_share is a share between 0 and 1, late_days at least 0")

    @property
    def end(self) -> datetime:
        """Exclusive end of the stream."""
        return datetime.fromtimestamp(self.start.timestamp() + self.days * 86400, UTC)


def _zipf_ranks(uniform: Floats, n: int, exponent: float) -> Ints:
    """Ranks 0..n-1, by the inverse of the continuous Zipf distribution on [1, n + 1)."""
    if exponent == 0.0:
        ranks = uniform * n
    elif exponent == 1.0:
        ranks = np.exp(uniform * np.log(n + 1.0)) - 1.0
    else:
        power = 1.0 - exponent
        ranks = ((n + 1.0) ** power - 1.0) * uniform
        ranks += 1.0
        if power == 0.5:
            ranks *= ranks
        else:
            np.power(ranks, 1.0 / power, out=ranks)
        ranks -= 1.0
    result = ranks.astype(np.int64)
    np.minimum(result, n - 1, out=result)
    return result


def _coprime(n: int, start: int) -> int:
    """Return the first multiplier from `start` on that permutes 0..n-1."""
    multiplier = start
    while np.gcd(multiplier, n) != 1:
        multiplier += 1
    return multiplier


def _scatter(ranks: Ints, n: int) -> Ints:
    """Permutes ranks, so that the popular ids are not the small ones; n up to 2**32."""
    return (ranks * _coprime(n, 506_952_113) + n // 3) % n


def _weighted_lookup(weights: Floats, slots: int) -> npt.NDArray[np.int32]:
    """Return a table of `slots` codes; each code fills its share of `weights`, one slot at least."""
    share = np.cumsum(weights) / weights.sum()
    order = np.arange(1, len(weights) + 1)
    ends = np.maximum.accumulate(np.maximum(np.round(share * slots).astype(np.int64), order) - order) + order
    ends = np.minimum(ends, slots - len(weights) + order)
    return np.repeat(np.arange(len(weights), dtype=np.int32), np.diff(ends, prepend=0))


def _mix(values: Ints) -> npt.NDArray[np.uint64]:
    """Return a cheap 64-bit hash (one multiply, the good bits on top)."""
    return values.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def _dictionary(codes: npt.NDArray[np.int32], values: pa.Array) -> pa.DictionaryArray:
    # safe=False: the codes come from a table of valid ones, checking them is a third of the cost.
    return pa.DictionaryArray.from_arrays(pa.array(codes), values, safe=False)


def _micros(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds


class _PlaysBlocks:
    """Lookup tables of one stream, and the columns of any of its blocks."""

    CITIES_PER_COUNTRY = 12
    VERSIONS = 40
    LOOKUP_BITS = 16

    def __init__(self, n: int, options: Plays) -> None:
        self.n = n
        self.options = options
        slots = 1 << self.LOOKUP_BITS
        ranks = np.arange(1, options.countries + 1, dtype=np.float64)
        self.country_of = _weighted_lookup(ranks**-options.country_skew, slots)
        self.device_of = _weighted_lookup(np.array([58, 17, 9, 5, 4, 4, 2, 1.0])[: options.devices], 256)
        self.platform_of = _weighted_lookup(np.array([46, 33, 9, 6, 5, 1.0]), 256)
        self.version_of = _weighted_lookup(0.85 ** np.arange(self.VERSIONS, dtype=np.float64), 256)
        self.countries = pa.array(COUNTRIES[: options.countries], pa.string())
        self.devices = pa.array(_DEVICES[: options.devices], pa.string())
        self.platforms = pa.array(_PLATFORMS, pa.string())
        self.versions = pa.array([f"9.{v // 4}.{v % 4}" for v in range(self.VERSIONS)], pa.string())
        cities = [
            f"{c}-{k + 1:02d}" for c in COUNTRIES[: options.countries] for k in range(self.CITIES_PER_COUNTRY)
        ]
        self.cities = pa.array(cities, pa.string())
        hours = np.array(_HOURS, dtype=np.float64)
        # Fraction of the day's plays -> fraction of the day, at 4096 points: cheaper than a search.
        grid = (np.arange(4096) + 0.5) / 4096
        self.day_curve = np.interp(
            grid, np.concatenate([[0.0], np.cumsum(hours) / hours.sum()]), np.arange(25) / 24
        )
        self.start = _micros(options.start)
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
        first = block * BLOCK_ROWS
        count = min(BLOCK_ROWS, self.n - first)
        options = self.options
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([options.seed, block])))
        users = _scatter(_zipf_ranks(rng.random(count), options.users, options.user_skew), options.users)
        songs = _scatter(_zipf_ranks(rng.random(count), options.songs, options.song_skew), options.songs)
        times = self.timestamps(first, count, rng)
        noise = rng.integers(0, 1 << 63, count, dtype=np.uint64)

        # What belongs to a user follows from the user: a country, a city in it, one main device.
        traits = _mix(users)
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
            _dictionary(country, self.countries),
            _dictionary(self.device_of[device_slot.view(np.int64)], self.devices),
            pa.array(ms_played),
            pa.array(session),
            _dictionary(city, self.cities),
            _dictionary(self.platform_of[platform_slot.view(np.int64)], self.platforms),
            _dictionary(self.version_of[version_slot.view(np.int64)], self.versions),
            pa.array((noise >> np.uint64(32)) & np.uint64(3) == 0),
            pa.array((noise >> np.uint64(34)) & np.uint64(15) == 0),
        ]


def plays(n: int, options: Plays | None = None, *, batch_rows: int = BLOCK_ROWS) -> Iterator[pa.RecordBatch]:
    """Streams `n` plays in order of arrival, as record batches of :data:`PLAYS_SCHEMA`.

    Parameters
    ----------
    n
        Number of events.
    options
        Sizes, days, skew, share of late events, seed.
    batch_rows
        Rows in each batch but the last.

    Yields
    ------
    pyarrow.RecordBatch

    Examples
    --------
    >>> sum(batch.num_rows for batch in plays(100_000, Plays(songs=10, artists=3)))
    100000
    """
    blocks = _PlaysBlocks(n, options or Plays())
    return _rebatch(n, batch_rows, PLAYS_SCHEMA, blocks.columns)


def _rebatch(
    n: int, batch_rows: int, schema: pa.Schema, columns: Callable[[int], list[pa.Array]]
) -> Iterator[pa.RecordBatch]:
    """Cuts (or joins) blocks of BLOCK_ROWS rows into batches of `batch_rows`."""
    if batch_rows < 1:
        raise ValueError(f"batch_rows={batch_rows} is not positive")
    pending: list[pa.RecordBatch] = []
    held = 0
    for block in range(-(-n // BLOCK_ROWS)):
        batch = pa.RecordBatch.from_arrays(columns(block), schema=schema)
        start = 0
        while batch.num_rows - start + held >= batch_rows:
            piece = batch.slice(start, batch_rows - held)
            start += piece.num_rows
            yield pa.concat_batches([*pending, piece]) if pending else piece
            pending, held = [], 0
        if start < batch.num_rows:
            pending.append(batch.slice(start))
            held += batch.num_rows - start
    if pending:
        yield pa.concat_batches(pending) if len(pending) > 1 else pending[0]


def plays_table(n: int, options: Plays | None = None) -> pa.Table:
    """All of :func:`plays` as one table, for tests and small runs."""
    return pa.Table.from_batches(list(plays(n, options)), PLAYS_SCHEMA)


def _names(ids: Ints, openings: tuple[str, ...]) -> pa.Array:
    """Return distinct names for distinct ids: words by mixed radix, a number once they run out."""
    radix = len(openings), len(_ADJECTIVES), len(_NOUNS)
    combinations = radix[0] * radix[1] * radix[2]
    number = ids // combinations
    word = ids % combinations * _coprime(combinations, 77_773) % combinations  # neighbours differ
    parts = [
        pa.array(openings, pa.string()).take(pa.array(word % radix[0])),
        pa.array([f"{adjective} " for adjective in _ADJECTIVES]).take(pa.array(word // radix[0] % radix[1])),
        pa.array(_NOUNS).take(pa.array(word // (radix[0] * radix[1]))),
    ]
    if number.any():
        suffix = pc.binary_join_element_wise(" ", pc.cast(pa.array(number + 1), pa.string()), "")
        parts.append(pc.if_else(pa.array(number > 0), suffix, ""))
    return pc.binary_join_element_wise(*parts, "")


def dim_songs(options: Plays | None = None) -> pa.Table:
    """Every song of the stream: `song_id` 0..songs-1, its artist, album, genre, label, length, year, title.

    Examples
    --------
    >>> dim_songs(Plays(songs=3, artists=2)).column_names[:2]
    ['song_id', 'artist_id']
    """
    options = options or Plays()
    n = options.songs
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([options.seed, 1 << 40])))
    ids = np.arange(n, dtype=np.int64)
    artist = _scatter(_zipf_ranks(rng.random(n), options.artists, 0.5), options.artists)
    # An artist has some ten songs an album: an album belongs to one artist.
    album = artist * 16 + rng.integers(0, 16, n)
    bits = rng.integers(0, 1 << 62, n)
    return pa.table(
        {
            "song_id": ids.astype(np.int32),
            "artist_id": artist.astype(np.int32),
            "album_id": album.astype(np.int32),
            "genre_id": (artist * 7919 % 126).astype(np.int16),
            "label_id": (artist * 104_729 % 5003).astype(np.int32),
            "duration_ms": (120_000 + bits % 180_000).astype(np.int32),
            "release_year": (2024 - (bits >> 20) % 1000 * ((bits >> 40) % 1000) // 16_000).astype(np.int16),
            "explicit": (bits >> 50) % 10 == 0,
            "title": _names(ids, ("", "My ", "All the ", "Your ")),
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
    return pa.table({"artist_id": ids.astype(np.int32), "artist": _names(ids, _OPENINGS)})


def readings(
    n: int, *, sensors: int = 500, days: float = 3.0, seed: int = 42, batch_rows: int = BLOCK_ROWS
) -> Iterator[pa.RecordBatch]:
    """Sensor readings: a string key (some of them not ASCII), nulls, NaN and -0.0 elsewhere."""
    names = dim_sensors(sensors)["sensor"].combine_chunks()
    units = pa.array(["°C", "hPa", "%", "lx", ""], pa.string())
    notes = pa.array(["", "calibrated", "door open", "überprüft", "x" * 200], pa.string())
    start = _micros(datetime(2024, 2, 28, tzinfo=UTC)) // 1000

    def columns(block: int) -> list[pa.Array]:
        first = block * BLOCK_ROWS
        count = min(BLOCK_ROWS, n - first)
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, block])))
        at = ((np.arange(first, first + count) + rng.random(count) * 50) * (days / n * 86_400_000)).astype(
            np.int64
        )
        np.minimum(at, int(days * 86_400_000) - 1, out=at)  # the jitter stays within the days asked for
        value = np.round(rng.normal(20, 5, count), 2)
        value[rng.random(count) < 0.01] = np.nan
        value[rng.random(count) < 0.01] = -0.0
        unit = rng.integers(0, len(units), count, dtype=np.int32)
        return [
            names.take(pa.array(_zipf_ranks(rng.random(count), sensors, 0.8))),
            pa.array(at + start).view(pa.timestamp("ms", "UTC")),
            pa.array(value, mask=rng.random(count) < 0.1),
            pa.array(rng.random(count) < 0.9, mask=rng.random(count) < 0.05),
            pa.DictionaryArray.from_arrays(pa.array(unit, mask=rng.random(count) < 0.2), units),
            notes.take(pa.array(rng.integers(0, len(notes), count), mask=rng.random(count) < 0.7)),
            pa.array(rng.random(count).astype(np.float32), mask=rng.random(count) < 0.3),
        ]

    return _rebatch(n, batch_rows, READINGS_SCHEMA, columns)


def dim_sensors(sensors: int = 500) -> pa.Table:
    """Return the sensors of :func:`readings`: `sensor` (string), `site`, `floor` (with nulls)."""
    prefix = ("s", "sensor-", "Fühler ", "気温")
    return pa.table(
        {
            "sensor": [f"{prefix[i % 4]}{i}" for i in range(sensors)],
            "site": [f"site {i % 7}" for i in range(sensors)],
            "floor": pa.array([None if i % 11 == 0 else i % 5 for i in range(sensors)], pa.int16()),
        }
    )


def trades(
    n: int,
    *,
    accounts: int = 2000,
    symbols: int = 300,
    days: float = 3.0,
    seed: int = 42,
    batch_rows: int = BLOCK_ROWS,
) -> Iterator[pa.RecordBatch]:
    """Trades keyed by two columns, `account` and `symbol`, with decimals, dates and nanoseconds."""
    names = dim_symbols(symbols)["symbol"].combine_chunks()
    venues = pa.array(["XNYS", "XNAS", "XLON", "XETR"], pa.string())
    start = _micros(datetime(2023, 12, 31, tzinfo=UTC)) * 1000
    # Decimals from a table of prices: making one per row in Python would be the whole cost.
    prices = pa.array([Decimal(i * 37 + 1).scaleb(-4) for i in range(4096)], pa.decimal128(12, 4))

    def columns(block: int) -> list[pa.Array]:
        first = block * BLOCK_ROWS
        count = min(BLOCK_ROWS, n - first)
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, block])))
        at = (np.arange(first, first + count) + rng.random(count)) * (days / n * 86_400_000_000_000)
        executed = at.astype(np.int64) + start
        settles = (executed // 86_400_000_000_000 + 2).astype(np.int32)
        return [
            pa.array(_zipf_ranks(rng.random(count), accounts, 0.7) - accounts // 2),
            names.take(pa.array(_zipf_ranks(rng.random(count), symbols, 1.0))),
            pa.array(executed).view(pa.timestamp("ns")),
            prices.take(pa.array(rng.integers(0, len(prices), count))),
            pa.array(rng.integers(1, 1 << 32, count, dtype=np.uint32)),
            pa.array(settles).view(pa.date32()),
            _dictionary(rng.integers(0, 4, count, dtype=np.int32), venues),
            pa.array(rng.random(count) < 0.5, mask=rng.random(count) < 0.02),
        ]

    return _rebatch(n, batch_rows, TRADES_SCHEMA, columns)


def dim_symbols(symbols: int = 300) -> pa.Table:
    """Return the symbols of :func:`trades`: `symbol`, `company`, `sector`."""

    def ticker(i: int) -> str:
        letters = ""
        for _ in range(4):
            i, letter = divmod(i, 26)
            letters = chr(65 + letter) + letters
        return letters

    columns: dict[str, Any] = {
        "symbol": [ticker(i) for i in range(symbols)],
        "company": _names(np.arange(symbols, dtype=np.int64), _OPENINGS),
        "sector": [("tech", "health", "energy", "retail")[i % 4] for i in range(symbols)],
    }
    return pa.table(columns)
