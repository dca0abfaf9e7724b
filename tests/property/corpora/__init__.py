"""Bodies of realistic queries, on which the planner is held against the plain query."""
