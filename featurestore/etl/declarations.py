"""What a script's class declares about itself in class attributes, read once and held to its word from then on."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import get_args

import pyarrow as pa

from featurestore.etl.type_text import parse_type
from featurestore.model.etl import Declarations, Granularity, Kind

__all__ = ["BadDeclaration", "Declarations", "Granularity", "Kind", "line_of", "read", "read_output_types"]


class BadDeclaration(ValueError):
    """A class attribute is not what it must be. The text says what it must be.

    Attributes:
        attribute: its name.
    """

    def __init__(self, attribute: str, why: str) -> None:
        super().__init__(why)
        self.attribute = attribute


def read(cls: type, kind: Kind) -> Declarations:
    """The declarations of a script's class.

    Raises:
        BadDeclaration: `granularity` or `pure` is not what it must be.
    """
    granularity: object = getattr(cls, "granularity")  # noqa: B009 - whatever a stranger wrote there
    if granularity not in get_args(Granularity):
        raise BadDeclaration("granularity", 'granularity must be "rows", "key" or "frame"')
    pure: object = getattr(cls, "pure")  # noqa: B009 - likewise
    if not isinstance(pure, bool):
        raise BadDeclaration("pure", "pure must be True or False")
    return Declarations(str(granularity), pure, kind)  # type: ignore[arg-type] # just looked at


def read_output_types(cls: type) -> dict[str, pa.DataType]:
    """The declared types of output columns.

    Raises:
        BadDeclaration: `output_types` is no dict, or an entry names no type.
    """
    types: object = getattr(cls, "output_types")  # noqa: B009 - whatever a stranger wrote there
    if not isinstance(types, Mapping):
        raise BadDeclaration("output_types", "output_types must be a dict")
    declared: dict[str, pa.DataType] = {}
    for column, text in types.items():
        if not isinstance(column, str):
            raise BadDeclaration("output_types", "output_types must have names of columns as its keys")
        try:
            declared[column] = parse_type(str(text))
        except ValueError as error:
            raise BadDeclaration("output_types", f"output_types[{column!r}]: {error}") from error
    return declared


def line_of(source: str, class_name: str, attribute: str = "") -> int:
    """Where a class of a script stands, or the assignment of an attribute in it; 1 where neither is found.

    Args:
        source: that compiles.
    """
    try:
        statements = ast.parse(source).body
    except RecursionError:  # a tree is deeper than the code that is made from it
        return 1
    classes = [node for node in statements if isinstance(node, ast.ClassDef) and node.name == class_name]
    if not classes:
        return 1
    last = classes[-1]  # the one that counts
    for statement in reversed(last.body):
        targets = (
            statement.targets
            if isinstance(statement, ast.Assign)
            else [statement.target]
            if isinstance(statement, ast.AnnAssign)
            else []
        )
        if any(isinstance(target, ast.Name) and target.id == attribute for target in targets):
            return statement.lineno
    return last.lineno
