"""What `Explain` says of a table that is read whole: what happened, and what to write instead."""

from __future__ import annotations

from featurestore.engine.planner.model import Rule

RECURSION = (
    "it stands in a recursive query, which reaches rows through other rows: filter by the key inside its first part is "
    "not possible; publish the closure as a table instead"
)
LIMIT = (
    "a LIMIT or OFFSET counts rows of all keys: limit per key instead, with QUALIFY row_number() OVER (PARTITION BY key "
    "ORDER BY ...) <= n, or with a LATERAL subquery"
)
GLOBAL_AGGREGATE = "an aggregate over all rows needs all rows: group by the key"
COMPUTED = {
    Rule.EXPRESSION: "the key is computed, so it is not known which rows give it: select the column itself as the key, and "
    "store it in the form in which it is asked",
    Rule.GROUP_BY: "the key is computed from all rows of a group: group by the column that is the key",
    Rule.GLOBAL_AGGREGATE: GLOBAL_AGGREGATE,
}
SET_OPERATION = "one side of the UNION has no such column: select the key on both sides, as a plain column of the same type"
POSITIONAL = "rows are paired by where they stand, so none may be missing: join on the key"
PIVOT = (
    "PIVOT and UNPIVOT are not followed: write sum(x) FILTER (WHERE ...) AS name for each, grouped by the key"
)
UNPRINTABLE = (
    "it is joined on a column of a type that can't be an index key, such as DOUBLE: join it on one that can"
)
MISSED = {
    Rule.EQUALITY: "it is compared with the key by IS NOT DISTINCT FROM, which lets nulls meet: compare it with =",
    Rule.CONJUNCT: "it is compared with the key under OR, NOT or CASE, where a row need not be equal: compare it with =, "
    "tied to the other conditions with AND",
    Rule.HAVING: "it is compared with the key in HAVING or QUALIFY, which judge what was computed from more rows: compare "
    "it in WHERE or ON",
}
IN_SUBQUERY = (
    "IN or = ANY needs all its rows, negated or under OR or as a value: write NOT EXISTS or EXISTS, with = between one of "
    "its columns and the key column outside"
)
OUTER_PRESERVED = (
    "an outer join keeps its rows where ON is not fulfilled, so that ON takes none of them: tie it to the key in WHERE, or "
    "write an inner join"
)
SUBQUERY = "it stands in a subquery that is not tied to the key: compare one of its columns with the key column outside, with ="


def group_by(column: str) -> str:
    """The key is not grouped by."""
    return f"rows are grouped, and not by {column}: add it to GROUP BY"


def distinct_on(column: str) -> str:
    """The key is not among DISTINCT ON."""
    return f"DISTINCT ON keeps a row of any key: put {column} among its expressions"


def window(column: str) -> str:
    """A window's partitions hold more than one key."""
    return f"a window function sees rows of other keys: put {column} into every PARTITION BY of this SELECT"


def same_type(column: str, type_: str | None, key_type: str | None) -> str:
    """It is compared with the key as another type."""
    types = f"is {type_ or 'computed'}, and what it is compared with is {key_type or 'computed'}"
    return f"its column {column} {types}: values of two types can be equal without being the same key; store both as one type"


def uses_differ(name: str) -> str:
    """A WITH query is used in several ways."""
    return (
        f"{name} is used more than once, and not every use asks for the key on the same column: write one WITH query for "
        "each use"
    )


def unused(name: str) -> str:
    """Nothing reads a WITH query."""
    return f"{name} is not used: delete it"


def unconnected(alias: str) -> str:
    """No condition leads to it."""
    return f"nothing ties {alias} to the key: join it with = on the key column, or on a column of a table that is tied to it"


def schema_qualified(alias: str) -> str:
    """Its columns are written with the schema."""
    return f"its columns are written as feature_store.{alias}.column: write {alias}.column"
