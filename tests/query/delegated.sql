-- Statements that go whole to DuckDB. One a paragraph, below the part of the reason that explain gives.

-- not a partition column
SELECT country, COUNT(*) FROM fact_plays WHERE ms_played > 1000 GROUP BY country;

-- the aggregate
SELECT country, SUM(ms_played) AS s, AVG(score) FROM fact_plays GROUP BY country;

-- the aggregate
SELECT country, COUNT(DISTINCT user_id) FROM fact_plays GROUP BY country;

-- the aggregate
SELECT country, COUNT(artist_id) FROM fact_plays GROUP BY country;

-- the aggregate
SELECT country, COUNT(*) FILTER (WHERE skipped) FROM fact_plays GROUP BY country;

-- does not run over groups
SELECT country, geomean(1.0) FROM fact_plays GROUP BY country;

-- aggregate
SELECT geomean(COUNT(*)) OVER () FROM fact_plays GROUP BY country HAVING bool_or(skipped);

-- the aggregate
SELECT country, list(DISTINCT skipped ORDER BY skipped) FROM fact_plays GROUP BY country;

-- the expression
SELECT upper(country) AS c, COUNT(*) FROM fact_plays GROUP BY c;

-- the expression
SELECT upper(country), COUNT(*) FROM fact_plays GROUP BY ALL;

-- ROLLUP
SELECT country, COUNT(*) FROM fact_plays GROUP BY ROLLUP (country);

-- GROUPINGSETS
SELECT country, COUNT(*) FROM fact_plays GROUP BY GROUPING SETS ((country), ());

-- CUBE
SELECT country, COUNT(*) FROM fact_plays GROUP BY CUBE (country);

-- groups nothing
SELECT * FROM fact_plays WHERE date = '2024-01-01';

-- subquery
SELECT country, COUNT(*) FROM (SELECT * FROM fact_plays) GROUP BY country;

-- WITH
WITH x AS (SELECT 1) SELECT country, COUNT(*) FROM fact_plays GROUP BY country;

-- not a plain SELECT
SELECT country, COUNT(*) FROM fact_plays GROUP BY country UNION ALL SELECT 'x', 1;

-- subquery
SELECT country, COUNT(*) FROM fact_plays WHERE date = (SELECT MIN(date) FROM fact_plays) GROUP BY country;

-- LEFT
SELECT artist, COUNT(*) FROM fact_plays f LEFT JOIN dim_artists a ON f.artist_id = a.artist_id GROUP BY artist;

-- NATURAL
SELECT artist, COUNT(*) FROM fact_plays NATURAL JOIN dim_artists GROUP BY artist;

-- SEMI
SELECT country, COUNT(*) FROM fact_plays f SEMI JOIN dim_artists a USING (artist_id) GROUP BY country;

-- without
SELECT artist, COUNT(*) FROM fact_plays f JOIN dim_artists a ON f.artist_id < a.artist_id GROUP BY artist;

-- more than one column
SELECT artist, COUNT(*) FROM fact_plays f JOIN dim_artists a ON f.artist_id = a.artist_id AND f.user_id = a.artist_id GROUP BY artist;

-- joined without
SELECT artist, COUNT(*) FROM fact_plays f JOIN dim_artists a ON f.artist_id + 1 = a.artist_id GROUP BY artist;

-- joined without
SELECT name, COUNT(*) FROM fact_plays f JOIN dim_countries c ON upper(country) = code GROUP BY name;

-- more than one fact
SELECT a.country, COUNT(*) FROM fact_plays a JOIN fact_plays b USING (user_id) WHERE a.date = '2024-01-01' AND b.date = '2024-01-01' GROUP BY a.country;

-- no fact table
SELECT artist, COUNT(*) FROM dim_artists GROUP BY artist;

-- event table
SELECT device, COUNT(*) FROM listens GROUP BY device;

-- alias of something else
SELECT upper(country) AS country, COUNT(*) FROM fact_plays GROUP BY country;

-- column aliases
SELECT c.x, COUNT(*) FROM fact_plays AS c(x) GROUP BY c.x;

-- LIMIT
SELECT country, COUNT(*) FROM fact_plays GROUP BY country ORDER BY country LIMIT 50%;

-- *
SELECT COLUMNS('country'), COUNT(*) FROM fact_plays GROUP BY ALL;

-- DOT
SELECT {'a': country}.a AS k, COUNT(*) FROM fact_plays GROUP BY country;

-- *
SELECT unnest([1, 2]) AS u, country, COUNT(*) FROM fact_plays GROUP BY country;

-- LAMBDA
SELECT list_transform([1, 2], lambda x: x + 1) AS l, COUNT(*) FROM fact_plays;

-- no FROM
SELECT 1 AS one;

-- not a plain SELECT
VALUES (1), (2);

-- not a plain SELECT
DESCRIBE dim_artists;

-- no fact table
SELECT genre, name FROM dim_artists, dim_countries WHERE artist_id < 2;

-- WITH
WITH dim_artists AS (SELECT 7 AS artist) SELECT * FROM dim_artists;

-- WITH
WITH dim_artists AS (SELECT artist FROM dim_artists) SELECT * FROM dim_artists;

-- event table
SELECT user_id, listens.device FROM listens JOIN dim_artists ON user_id = artist_id;

-- event table
SELECT l FROM listens l WHERE user_id < 3;

-- *
SELECT #1 FROM listens;

-- event table
SELECT a.user_id + b.user_id AS s FROM listens a, listens b;

-- event table
SELECT COUNT(*) FROM listens;

-- event table
SELECT * EXCLUDE (device) FROM listens;

-- event table
FROM listens;
