"""What an ETL script subclasses, and what runs it.

A script is a module with a class `Etl`:

    from featurestore.etl import AbstractEtl          # or: from etl_abc import AbstractEtl

    class Etl(AbstractEtl):
        def extract(self):
            frame = self.df
            frame["creation_to_binding"] = frame["binding_date"] - frame["creation_date"]
            return frame

`ArrowEtl`, `PolarsEtl` and `SqlEtl` are the other kinds.
"""

from __future__ import annotations

from featurestore.etl.bases import AbstractEtl, ArrowEtl, PolarsEtl, SqlEtl

__all__ = ["AbstractEtl", "ArrowEtl", "PolarsEtl", "SqlEtl"]
