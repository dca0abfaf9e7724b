-- Users of a country, which is folded on the way out.
-- key: country
-- users: whole EXPRESSION
SELECT lower(country) AS country, count(*) AS users, avg(2025 - birth_year) AS mean_age
FROM feature_store.users
GROUP BY ALL
