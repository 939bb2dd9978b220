-- Statements that the kernels aggregate. One a paragraph.

SELECT COUNT(*) FROM fact_plays;

SELECT count() AS n FROM fact_plays f;

SELECT COUNT(1) FROM fact_plays WHERE date = '2024-01-02';

SELECT COUNT(*) FROM fact_plays WHERE date > '2030-01-01';

SELECT COUNT(*) + 1 AS n, 'x' AS x FROM fact_plays HAVING COUNT(*) > 10;

SELECT COUNT(*) FROM fact_plays HAVING COUNT(*) > 1000000;

SELECT COUNT(*) FROM fact_empty;

SELECT country, COUNT(*) FROM fact_empty GROUP BY country;

SELECT country, COUNT(*) FROM fact_plays GROUP BY country;

SELECT country FROM fact_plays GROUP BY country;

SELECT Country AS c, COUNT(*) FROM FACT_PLAYS GROUP BY c;

SELECT country, COUNT(*) FROM fact_plays GROUP BY 1;

SELECT country, skipped, COUNT(*) FROM fact_plays GROUP BY ALL;

SELECT COUNT(*) AS n, country FROM fact_plays GROUP BY (country);

SELECT COUNT(*) FROM fact_plays GROUP BY country, skipped;

SELECT date, COUNT(*) AS n FROM fact_plays GROUP BY date;

SELECT date, country, COUNT(*) AS n FROM main.fact_plays GROUP BY date, country;

SELECT score, user_id, COUNT(*) FROM fact_plays WHERE date = DATE '2024-01-03' GROUP BY score, user_id;

SELECT upper(country) AS u, COUNT(*) * 2 AS twice, COUNT(*) / 7 FROM fact_plays GROUP BY country;

SELECT country, COUNT(*) AS plays, plays // 10 AS tens FROM fact_plays GROUP BY country HAVING plays > 249;

SELECT country, COUNT(*) FROM fact_plays GROUP BY country HAVING country IS NOT NULL AND COUNT(*) >= 0;

SELECT DISTINCT COUNT(*) > 249 AS many FROM fact_plays GROUP BY country;

SELECT country, COUNT(*) AS n, rank() OVER (ORDER BY COUNT(*) DESC) AS r FROM fact_plays GROUP BY country;

SELECT country, SUM(COUNT(*)) OVER () AS total, COUNT(*) OVER () AS groups FROM fact_plays GROUP BY country;

SELECT country, COUNT(*) AS n FROM fact_plays GROUP BY country QUALIFY row_number() OVER (ORDER BY n, country) < 3;

SELECT country, COUNT(*) AS n FROM fact_plays GROUP BY country ORDER BY n DESC, country NULLS FIRST LIMIT 3 OFFSET 1;

SELECT country, COUNT(*) FROM fact_plays GROUP BY country ORDER BY 2, 1;

SELECT country, COUNT(*) FROM fact_plays GROUP BY country ORDER BY ALL DESC;

SELECT country FROM fact_plays GROUP BY country ORDER BY COUNT(*) DESC, upper(country);

SELECT CASE WHEN COUNT(*) > 249 THEN 'much' ELSE 'little' END AS k, country FROM fact_plays GROUP BY country;

SELECT country AS country, COUNT(*) AS "Count of all" FROM fact_plays GROUP BY country;

SELECT country, country, COUNT(*) FROM fact_plays GROUP BY country;

SELECT artist, COUNT(*) AS plays FROM fact_plays f JOIN dim_artists a ON a.artist_id = f.artist_id GROUP BY artist;

SELECT artist, COUNT(*) FROM fact_plays INNER JOIN dim_artists USING (artist_id) GROUP BY artist;

SELECT artist, COUNT(*) FROM dim_artists a JOIN fact_plays f ON (a.artist_id = f.artist_id) GROUP BY artist;

SELECT artist, COUNT(*) FROM fact_plays f, dim_artists a WHERE f.artist_id = a.artist_id GROUP BY artist;

SELECT artist, COUNT(*) FROM fact_plays f CROSS JOIN dim_artists a WHERE f.artist_id = a.artist_id GROUP BY 1;

SELECT COUNT(*) FROM fact_plays f JOIN dim_artists a ON f.artist_id = a.artist_id;

SELECT genre, name, COUNT(*) AS n FROM fact_plays JOIN dim_artists USING (artist_id) JOIN dim_countries c ON country = c.code GROUP BY genre, name;

SELECT x.genre, y.genre, COUNT(*) FROM fact_plays f JOIN dim_artists x ON f.artist_id = x.artist_id JOIN dim_artists y ON f.user_id = y.artist_id GROUP BY x.genre, y.genre;

SELECT a.artist_id, artist, COUNT(*) FROM fact_plays f JOIN dim_artists a ON f.artist_id = a.artist_id GROUP BY ALL;

SELECT artist, COUNT(*) FROM fact_plays f JOIN dim_artists a ON f.artist_id = a.artist_id WHERE genre = 'pop' AND date BETWEEN '2023-12-31' AND '2024-01-02' GROUP BY artist;

SELECT artist, COUNT(*) FROM fact_plays f JOIN dim_artists a ON f.artist_id = a.artist_id AND genre IN ('pop', 'jazz') AND date < '2024-01-02' GROUP BY artist;

SELECT country, COUNT(*) FROM fact_plays WHERE year(date) = 2024 AND month(date) = 1 GROUP BY country;

SELECT country, COUNT(*) FROM fact_plays WHERE date IN ('2024-01-01', '2024-01-03') OR date IS NULL GROUP BY country;

SELECT country, COUNT(*) FROM fact_plays WHERE date_trunc('month', date) = '2024-01-01' GROUP BY country;

SELECT country, COUNT(*) FROM fact_plays WHERE date >= DATE '2024-01-01' + INTERVAL 1 DAY GROUP BY country;

SELECT country, COUNT(*) FROM fact_plays WHERE NOT (date < '2024-01-01') AND TRUE GROUP BY country;

SELECT country, COUNT(*) FROM fact_plays WHERE date < today() - 3 AND 1 = 1 GROUP BY country;

SELECT country, COUNT(*) FROM fact_plays WHERE date <> '2024-01-01' AND NULL GROUP BY country;

FROM fact_plays SELECT country, COUNT(*) GROUP BY country;
