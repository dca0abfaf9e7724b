"""The catalogue service: what is known. Queries, ETLs, names; insert-only."""
