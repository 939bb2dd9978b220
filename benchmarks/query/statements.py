"""The statements: one text for every engine, with an order that leaves no ties open."""

from __future__ import annotations

TOP_ARTISTS = """
SELECT a.artist, f.country, COUNT(*) AS plays
FROM fact_plays f JOIN dim_artists a ON f.artist_id = a.artist_id
WHERE f.date >= DATE '2024-01-01'
GROUP BY a.artist, f.country
ORDER BY plays DESC, a.artist, f.country
LIMIT 100
"""

STATEMENTS = {
    "top-artists": TOP_ARTISTS,
    "last-week": TOP_ARTISTS.replace("2024-01-01", "2024-01-25"),
    "by-country": """
        SELECT country, COUNT(*) AS plays FROM fact_plays GROUP BY country ORDER BY plays DESC, country
    """,
    "devices": """
        SELECT device, COUNT(*) AS plays, SUM(ms_played) AS ms, AVG(ms_played) AS mean
        FROM fact_plays WHERE country IN ('US', 'BR', 'MX', 'GB', 'DE')
        GROUP BY device ORDER BY device
    """,
    "top-songs": """
        SELECT s.title, COUNT(*) AS plays
        FROM fact_plays f JOIN dim_songs s ON f.song_id = s.song_id
        WHERE f.ms_played > 30000
        GROUP BY s.title ORDER BY plays DESC, s.title LIMIT 100
    """,
    "day-genre": """
        SELECT date, genre_id, COUNT(*) AS plays, SUM(ms_played) AS ms
        FROM fact_plays GROUP BY date, genre_id ORDER BY date, genre_id
    """,
    "one-artist": """
        SELECT f.country, COUNT(*) AS plays
        FROM fact_plays f JOIN dim_artists a ON f.artist_id = a.artist_id
        WHERE a.artist_id = 7
        GROUP BY f.country ORDER BY plays DESC, f.country
    """,
    "distinct-users": """
        SELECT country, COUNT(DISTINCT user_id) AS users
        FROM fact_plays WHERE date >= DATE '2024-01-10' AND date < DATE '2024-01-13'
        GROUP BY country ORDER BY users DESC, country
    """,
}

FAMILY = [name for name in STATEMENTS if name != "top-artists"]

DELEGATED = """
SELECT city, COUNT(*) AS plays, MEDIAN(ms_played) AS middle
FROM fact_plays WHERE date >= DATE '2024-01-20' GROUP BY city ORDER BY plays DESC, city LIMIT 20
"""
"""A median: not for the kernels."""
