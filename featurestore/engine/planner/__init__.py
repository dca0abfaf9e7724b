"""The serving planner: which tables of a saved query can be narrowed to the asked keys without changing an answer.

`resolve` reads names into columns, `narrow` carries the key down to the tables, `text` splices what runs. DuckDB's
own parse tree is what is read, and the saver's own text is what runs: neither is ever generated from the other.
"""

from featurestore.engine.planner.model import Chain, Narrowing, Occurrence, Plan, ReadSet, Rule, Stop
from featurestore.engine.planner.plan import plan

__all__ = ["Chain", "Narrowing", "Occurrence", "Plan", "ReadSet", "Rule", "Stop", "plan"]
