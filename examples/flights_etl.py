"""What is known of a flight before it leaves, as a model takes it: numbers and codes, row by row."""

from etl_abc import AbstractEtl

# A code is a place in a list that is written down. Codes made from the rows at hand, as pandas' categories are,
# would be others for one flight alone than for a year of them.
CARRIERS = ["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV"]
ORIGINS = ["EWR", "JFK", "LGA"]
AS_THEY_ARE = [
    "scheduled_hour",
    "distance",
    "seats",
    "temp",
    "humid",
    "wind_speed",
    "precip",
    "pressure",
    "visib",
]


class Etl(AbstractEtl):
    def extract(self):
        flights = self.df
        features = flights[["flight_id", *AS_THEY_ARE, "flights_before"]].copy()
        features["late_before"] = flights["late_before"] / flights["flights_before"]
        features["weekday"] = flights["time_hour"].dt.tz_convert("America/New_York").dt.weekday
        features["carrier"] = code(flights["carrier"], CARRIERS)
        features["origin"] = code(flights["origin"], ORIGINS)
        features["age"] = 2013 - flights["built"]
        return features


def code(values, known):
    """The place of each value in the list; -1 for one that is not in it."""
    return values.map({value: place for place, value in enumerate(known)}).fillna(-1).astype("int64")
