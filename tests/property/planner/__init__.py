"""The planner against its oracle: random schemas, data and queries, each valid by construction."""
