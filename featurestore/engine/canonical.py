"""Canonical SQL: what two texts have in common when only layout, comments and the case of keywords differ.

It goes into a query's content key, so a false "same" would be worse than a false "different": nothing that DuckDB
might read in two ways is touched. The words below are fixed here, not asked from the engine, so that a new engine
version does not change ids; golden digests in the tests hold all of it still.
"""

from __future__ import annotations

from collections.abc import Collection

from featurestore.engine.lexer import TokenKind, tokens

_SPELLED = """
ALL AND ANTI ANY ARRAY AS ASC ASOF BETWEEN BIGINT BOOLEAN BOTH BY CASE CAST COALESCE COLLATE COLUMNS CROSS CUBE
CURRENT DECIMAL DESC DISTINCT ELSE END ESCAPE EXCEPT EXCLUDE EXISTS EXTRACT FALSE FILTER FIRST FOLLOWING FOR FROM
FULL GLOB GROUP GROUPING GROUPS HAVING IGNORE ILIKE IN INNER INTEGER INTERSECT INTERVAL IS ISNULL JOIN LAMBDA LAST
LATERAL LEADING LEFT LIKE LIMIT MATERIALIZED NATURAL NOT NOTNULL NULL NULLS OFFSET ON OR ORDER OUTER OVER
PARTITION PIVOT POSITIONAL PRECEDING QUALIFY RANGE RECURSIVE RENAME REPLACE RESPECT RIGHT ROLLUP ROW ROWS SELECT
SEMI SETS SIMILAR SOME STRUCT SUBSTRING SYMMETRIC TABLE THEN TIES TO TRAILING TRIM TRUE TRY_CAST UNBOUNDED UNION
UNPIVOT USING VALUES VARCHAR WHEN WHERE WINDOW WITH WITHIN WITHOUT
"""
_KEYWORDS = frozenset(_SPELLED.split())


def canonical(sql: str, names: Collection[str]) -> str:
    """The canonical form of a text that DuckDB parses as one SELECT.

    Args:
        sql: without a trailing semicolon.
        names: every string in its parse tree. A keyword that is spelled like one of them may be a name there,
            whose case can show in a result, and is left as it is.
    """
    pieces: list[str] = []
    for token in tokens(sql):
        text = token.text
        if token.kind is TokenKind.WORD and text not in names and text.upper() in _KEYWORDS:
            text = text.upper()
        pieces.append("\n" if token.continues else " ")
        pieces.append(text)
    return "".join(pieces[1:])
