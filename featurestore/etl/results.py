"""A result that is Arrow already becomes features: the contract's types, exactly, or its own in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from featurestore.etl.arrow_types import MisfitError, as_canonical, cast_exactly, has_null_type, is_same
from featurestore.etl.contract import Difference, name_differences


class UnsupportedColumn(ValueError):
    """A column that can't be handed to an ETL, or kept of its result.

    Attributes:
        column: its name, printed; empty when the frame as a whole is meant.
        why: what is the matter with it and what to do.
    """

    def __init__(self, column: str, why: str) -> None:
        super().__init__(f"column {column!r}: {why}" if column else why)
        self.column = column
        self.why = why


class ContractBroken(ValueError):
    """A result that is not what the contract says.

    Attributes:
        differences: every column that differs.
    """

    def __init__(self, differences: tuple[Difference, ...]) -> None:
        super().__init__("; ".join(map(str, differences)))
        self.differences = differences


def features_of(
    table: pa.Table, *, contract: pa.Schema | None, output_types: Mapping[str, pa.DataType]
) -> tuple[pa.Table, tuple[str, ...]]:
    """The features of a result, and without a contract the columns whose types it does not decide.

    With a contract a column is cast where this can't change a value, and an all-null column is whatever the contract
    says. Without one its type is its own, in the canonical form, or the declared one; undecided is what is null by type.

    Args:
        output_types: declared types by column, used without a contract.

    Raises:
        UnsupportedColumn: two columns have one name, there are none, or one has a type that can't be kept.
        ContractBroken: with every column that differs.
    """
    check_names(table.column_names)
    if contract is None:
        return _as_trained(table, output_types)
    wanted = {field.name: field.type for field in contract}
    wrong: list[Difference] = []
    columns: dict[str, pa.ChunkedArray] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name not in wanted:
            continue
        try:
            columns[name] = _to_type(column, wanted[name])
        except MisfitError as error:
            wrong.append(Difference(name, "type", str(wanted[name]), f"{column.type} ({error})"))
    found = [(field.name, str(field.type)) for field in table.schema]
    differences = (*wrong, *name_differences(found, contract))
    if differences:
        raise ContractBroken(differences)
    return pa.table([columns[name] for name in wanted], schema=pa.schema(list(wanted.items()))), ()


def check_names(names: Sequence[object]) -> None:
    """Columns count by name.

    Raises:
        UnsupportedColumn: a name is not text or occurs twice, or there are none.
    """
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            why = f"a column's name must be text, this one is {type(name).__name__}"
            raise UnsupportedColumn(str(name), f"{why}: rename it")
        if name in seen:
            raise UnsupportedColumn(name, "two columns have this name: rename or drop one")
        seen.add(name)
    if not seen:
        raise UnsupportedColumn("", "the frame has no columns")


def check_delivered(names: Sequence[str], output_types: Mapping[str, pa.DataType]) -> None:
    """What is declared has to be there.

    Raises:
        UnsupportedColumn: a declared column is not among the names.
    """
    undelivered = [name for name in output_types if name not in names]
    if undelivered:
        raise UnsupportedColumn(undelivered[0], "output_types declares it, but the ETL does not return it")


def _as_trained(table: pa.Table, output_types: Mapping[str, pa.DataType]) -> tuple[pa.Table, tuple[str, ...]]:
    columns: dict[str, pa.ChunkedArray] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            declared = output_types.get(name)
            columns[name] = as_canonical(column) if declared is None else _to_type(column, declared)
        except MisfitError as error:
            raise UnsupportedColumn(name, str(error)) from error
    check_delivered(table.column_names, output_types)
    undecided = tuple(name for name, column in columns.items() if has_null_type(column.type))
    return pa.table(columns), undecided


def _to_type(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if is_same(column.type, wanted) and not pa.types.is_floating(wanted):
        return column
    return cast_exactly(as_canonical(column), wanted)
