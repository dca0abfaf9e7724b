"""Queries that others wrote, and those that a data scientist would: the planner is held against the plain query."""
