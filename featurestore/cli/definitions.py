"""A folder of definitions: `queries/*.sql` and `etls/*.py`, read and held against each other; no store is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from featurestore.cli.front_matter import PYTHON, SQL, Field, read_front_matter, refuse
from featurestore.model.errors import FeatureStoreError, InvalidArgument, NotFound
from featurestore.model.names import Kind, check_name

ETL_CLASS = "Etl"
"""The class of a script that the workers run."""

_COMMON = ("name", "index_key", "description", "owner")
_FIELDS = {Kind.QUERY: _COMMON, Kind.ETL: (*_COMMON, "query", "class")}
_FILES = {Kind.QUERY: "queries/*.sql", Kind.ETL: "etls/*.py"}
_MARKERS = {Kind.QUERY: SQL, Kind.ETL: PYTHON}


@dataclass(frozen=True, slots=True)
class Definition:
    """A query or an ETL as a file has it.

    Attributes:
        name: the label to save it under; by default the file's name without its ending.
        file: relative to the folder, such as `queries/quotes.sql`.
        path: the file, absolute.
        text: the whole file, front matter included, so that lines in errors are the file's.
        index_key: the columns that it is served by; empty for none.
        query: of an ETL, the name of the query in the same folder whose rows it takes.
    """

    kind: Kind
    name: str
    file: str
    path: Path
    text: str
    index_key: tuple[str, ...] = ()
    owner: str = ""
    description: str = ""
    query: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}"


@dataclass(frozen=True, slots=True)
class Folder:
    """What was found in a folder.

    Attributes:
        queries: by file name; likewise `etls`.
        problems: why it can't be applied, one for each file or pair of files; empty if it can.
    """

    queries: tuple[Definition, ...]
    etls: tuple[Definition, ...]
    problems: tuple[FeatureStoreError, ...]


def read_folder(folder: Path) -> Folder:
    """Read the definitions in a folder. Files whose name begins with `_` or `.`, and all other files, are none.

    Returns:
        Problems are among what is returned, so that all of them can be told at once: `NO_DEFINITIONS`, `BAD_FILE`,
        `FRONT_MATTER`, `BAD_NAME`, `DUPLICATE_NAME`, and `UNKNOWN_QUERY` for an ETL whose query is not in the folder.
    """
    read: dict[Kind, list[Definition]] = {kind: [] for kind in Kind}
    problems: list[FeatureStoreError] = []
    for kind, pattern in _FILES.items():
        for path in sorted(folder.glob(pattern)):
            if path.name.startswith(("_", ".")):
                continue
            try:
                read[kind].append(_read(folder, path, kind))
            except FeatureStoreError as problem:
                problems.append(problem)
    queries, etls = read[Kind.QUERY], read[Kind.ETL]
    if not queries and not etls and not problems:
        problems.append(
            InvalidArgument(
                "NO_DEFINITIONS", f"{folder} holds no {' and no '.join(_FILES.values())}", folder=folder
            )
        )
    unreadable = bool(problems)
    problems += [*_duplicates(queries), *_duplicates(etls)]
    if not unreadable:  # else the query that is missed may be in the file that can't be read
        problems += _without_query(queries, etls)
    return Folder(tuple(queries), tuple(etls), tuple(problems))


def _read(folder: Path, path: Path, kind: Kind) -> Definition:
    file = path.relative_to(folder).as_posix()
    try:
        text = path.read_bytes().decode()  # byte for byte: a pinned script is compared with its commit
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument("BAD_FILE", f"{file} can't be read: {error}", path=path) from error
    fields = read_front_matter(file, text, _MARKERS[kind], _FIELDS[kind])
    if kind is Kind.ETL:
        _check_etl(file, fields)
    name = fields["name"].value if "name" in fields else path.stem
    where = f"{file} line {fields['name'].line}, field name" if "name" in fields else f"{file}, its file name"
    return Definition(
        kind=kind,
        name=check_name(name, kind, where),
        file=file,
        path=path.absolute(),
        text=text,
        index_key=_index_key(file, fields.get("index_key")),
        owner=_value(fields, "owner"),
        description=_value(fields, "description"),
        query=_value(fields, "query"),
    )


def _check_etl(file: str, fields: dict[str, Field]) -> None:
    if "query" not in fields:
        refuse(
            file,
            1,
            "query",
            "it is missing: write `# query: <name>`, the query in queries/ whose rows it takes",
        )
    named = fields.get("class")
    if named is not None and named.value != ETL_CLASS:
        refuse(file, named.line, "class", f"the store runs the class {ETL_CLASS} of a script: name it so")


def _value(fields: dict[str, Field], name: str) -> str:
    return fields[name].value if name in fields else ""


def _index_key(file: str, field: Field | None) -> tuple[str, ...]:
    if field is None:
        return ()
    columns = tuple(part.strip() for part in field.value.split(","))
    if not all(columns) or len(set(columns)) < len(columns):
        refuse(
            file, field.line, "index_key", f"{field.value!r} is no list of different columns: write a or a, b"
        )
    return columns


def _duplicates(definitions: Iterable[Definition]) -> list[FeatureStoreError]:
    known = list(definitions)
    counts = Counter(each.name for each in known)
    return [
        InvalidArgument(
            "DUPLICATE_NAME",
            f"{' and '.join(each.file for each in known if each.name == name)} have one name, {name}: give each its own",
            name=name,
        )
        for name, count in counts.items()
        if count > 1
    ]


def _without_query(queries: Iterable[Definition], etls: Iterable[Definition]) -> list[FeatureStoreError]:
    names = {query.name for query in queries}
    return [
        NotFound(
            "UNKNOWN_QUERY",
            f"{etl.file}, field query: there is no query {etl.query!r} in queries/"
            f" (there are {', '.join(sorted(names)) or 'none'})",
            file=etl.file,
            query=etl.query,
        )
        for etl in etls
        if etl.query not in names
    ]
