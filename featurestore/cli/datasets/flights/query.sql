-- One row per aircraft: how it was used in 2013, how late it left, and what the weather was like when it did.
SELECT
    F.tailnum,
    any_plane.year AS built,
    any_plane.manufacturer,
    any_plane.seats,
    any_plane.engines,
    count(*) AS flights,
    count(F.dep_delay) AS departed,
    count(*) FILTER (WHERE F.dep_delay > 15) AS left_late,
    count(DISTINCT F.dest) AS destinations,
    count(DISTINCT A.name) AS airlines,
    sum(F.distance) AS miles,
    avg(F.dep_delay) AS mean_departure_delay,
    max(F.dep_delay) AS worst_departure_delay,
    avg(F.arr_delay) AS mean_arrival_delay,
    avg(W.wind_speed) AS mean_wind_speed,
    avg(W.visib) AS mean_visibility,
    sum(W.precip) AS rain
FROM feature_store.flights F
LEFT JOIN feature_store.weather W ON W.origin = F.origin AND W.time_hour = F.time_hour
LEFT JOIN feature_store.airlines A ON A.carrier = F.carrier
LEFT JOIN feature_store.planes any_plane ON any_plane.tailnum = F.tailnum
GROUP BY F.tailnum, any_plane.year, any_plane.manufacturer, any_plane.seats, any_plane.engines
