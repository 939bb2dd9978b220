"""Words that values are made of: countries, devices, names of artists and songs."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from segue.datagen.blocks import Ints, coprime

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
DEVICES = ("phone", "desktop", "speaker", "tablet", "tv", "car", "watch", "console")
PLATFORMS = ("android", "ios", "windows", "macos", "web", "linux")
ADJECTIVES = (  # noqa: SIM905
    "Amber Broken Burning Cold Crimson Crystal Dancing Distant Electric Empty Endless Fading Falling "
    "Fearless Frozen Gentle Golden Hidden Hollow Humble Iron Ivory Jaded Lonely Lost Loud Lucky Lunar "
    "Marble Midnight Misty Neon Nervous Northern Open Paper Pale Plastic Quiet Restless Rising Royal "
    "Rusty Sacred Silent Silver Sleeping Solar Southern Stolen Sudden Tender Thin Tidal Velvet Wandering "
    "Warm Wild Wooden Young"
).split()
NOUNS = (  # noqa: SIM905
    "Anchors Arrows Bells Birds Bridges Candles Cities Clouds Comets Crowns Deserts Doors Dreams Echoes "
    "Embers Engines Feathers Fields Fires Foxes Gardens Ghosts Harbors Hearts Horses Islands Keys Kites "
    "Lanterns Letters Lights Lions Mirrors Moons Mountains Oceans Orchards Owls Pilots Planets Poets "
    "Rivers Roads Roses Sails Saints Satellites Shadows Signals Sparrows Stars Stones Storms Strangers "
    "Thieves Tigers Trains Valleys Waves Wolves"
).split()
OPENINGS = (
    "", "The ", "DJ ", "Los ", "Saint ", "King ", "Lady ", "Little ", "Old ", "New ", "Young ", "Mister ",
    "Captain ", "Doctor ", "Sister ", "Brother ", "Uncle ", "Black ", "White ", "Blue ",
    "Red ", "Big ", "Black & ",
    "Radio ",
    "Hotel ", "Club ", "Studio ", "Café ", "Señor ", "Björn & the ",
)
# Share of a day's plays in each hour (UTC): a trough at night, a peak in the evening.
HOURS = (22, 17, 14, 12, 12, 15, 22, 32, 41, 45, 46, 48, 51, 52, 53, 56, 61, 66, 68, 66, 61, 53, 43, 31)
# fmt: on


def distinct_names(ids: Ints, openings: tuple[str, ...]) -> pa.Array:
    """Return distinct names for distinct ids: words by mixed radix, a number once they run out."""
    radix = len(openings), len(ADJECTIVES), len(NOUNS)
    combinations = radix[0] * radix[1] * radix[2]
    number = ids // combinations
    word = ids % combinations * coprime(combinations, 77_773) % combinations  # neighbours differ
    parts = [
        pa.array(openings, pa.string()).take(pa.array(word % radix[0])),
        pa.array([f"{adjective} " for adjective in ADJECTIVES]).take(pa.array(word // radix[0] % radix[1])),
        pa.array(NOUNS).take(pa.array(word // (radix[0] * radix[1]))),
    ]
    if number.any():
        suffix = pc.binary_join_element_wise(" ", pc.cast(pa.array(number + 1), pa.string()), "")
        parts.append(pc.if_else(pa.array(number > 0), suffix, ""))
    return pc.binary_join_element_wise(*parts, "")
