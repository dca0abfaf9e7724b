"""Features of an aircraft for a model of departure delays."""

import numpy as np
from etl_abc import AbstractEtl


class Etl(AbstractEtl):
    """Row by row, so that one aircraft's row gives what the whole frame gave."""

    def extract(self):
        """One row of features per aircraft."""
        aircraft = self.df
        features = aircraft[["tailnum", "flights", "seats"]].copy()
        features["age"] = 2013 - aircraft["built"]
        features["late_share"] = aircraft["left_late"].astype("float64") / aircraft["flights"].astype(
            "float64"
        )
        features["cancelled"] = aircraft["flights"] - aircraft["departed"]
        features["mean_departure_delay"] = aircraft["mean_departure_delay"]
        features["caught_up"] = aircraft["mean_departure_delay"] - aircraft["mean_arrival_delay"]
        features["log_miles"] = np.log1p(aircraft["miles"].astype("float64"))
        features["mean_wind_speed"] = aircraft["mean_wind_speed"]
        features["mean_visibility"] = aircraft["mean_visibility"]
        features["is_large"] = aircraft["seats"] > 150
        return features
