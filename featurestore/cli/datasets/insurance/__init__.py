"""Simulated insurance customers: the query and the ETL of the demo."""
