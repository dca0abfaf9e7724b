"""TPC-H and TPC-DS: their tables in the store's schema, and their queries as they could be saved.

Two things are changed in a text. Its tables are named with the schema, as the store wants it. And a LIMIT at its very
end is taken away: which rows of equal rank it keeps is left to chance, and it would stop every narrowing, so that
nothing would be learnt about the rest of the query.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import duckdb

from featurestore.engine import inspector
from featurestore.engine.lexer import TokenKind, tokens, without_semicolon
from featurestore.engine.planner.trees import Node

SCALE = 0.01


@dataclass(frozen=True, slots=True)
class Corpus:
    """A family of queries over the tables that its extension makes.

    Attributes:
        extension: of DuckDB, out of the wheel `duckdb-extension-<name>`.
        generator: the call that makes the tables.
    """

    name: str
    extension: str
    generator: str


TPC_H = Corpus("TPC-H", "tpch", "dbgen")
TPC_DS = Corpus("TPC-DS", "tpcds", "dsdgen")


def fill(connection: duckdb.DuckDBPyConnection, corpus: Corpus) -> list[str]:
    """Make the tables and return the texts of the queries, from 1 on.

    The engine's profile loads no extension; the tables are made on a connection of their own and handed over.
    """
    with _generating(corpus) as maker:
        maker.execute(f"CALL {corpus.generator}(sf={SCALE})")
        names = [
            name for (name,) in maker.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
        ]
        for name in names:
            rows = maker.execute(f"FROM {name}").to_arrow_table()
            connection.register("made", rows)
            connection.execute(f"CREATE TABLE feature_store.{name} AS FROM made")
            connection.unregister("made")
        texts = maker.execute(f"SELECT query FROM {corpus.extension}_queries() ORDER BY query_nr").fetchall()
    return [_in_the_store(text, frozenset(names)) for (text,) in texts]


def _generating(corpus: Corpus) -> duckdb.DuckDBPyConnection:
    package = resources.files(f"duckdb_extension_{corpus.extension}")
    file = package / "extensions" / f"v{duckdb.__version__}" / f"{corpus.extension}.duckdb_extension"
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    connection.execute(f"LOAD '{file}'")
    return connection


def _in_the_store(text: str, tables: frozenset[str]) -> str:
    sql = _without_limit(without_semicolon(text))
    tree = inspector.parse_tree(sql)["statements"][0]["node"]
    for at in sorted({node["query_location"] for node in _unqualified(tree, tables)}, reverse=True):
        sql = f"{sql[:at]}feature_store.{sql[at:]}"
    return sql


def _without_limit(sql: str) -> str:
    found = list(tokens(sql))
    if len(found) > 1 and found[-2].kind is TokenKind.WORD and found[-2].text.upper() == "LIMIT":
        return sql[: found[-2].start].rstrip()
    return sql


def _unqualified(tree: Node, tables: frozenset[str]) -> Iterator[Node]:
    """Each place where a table of the corpus is named; no WITH query of a corpus has a table's name."""
    waiting: list[object] = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if part.get("type") == "BASE_TABLE" and part["table_name"].lower() in tables:
                yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
