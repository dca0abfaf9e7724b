"""DuckDB, the same on both sides: what a query means and what a publish does."""
