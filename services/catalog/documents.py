"""What the catalogue stores: one class per collection, one document per fact, never changed once inserted.

Only the report of verifying a thing gives way to the next one.

Maps with free keys are stored as sorted pairs: a label may hold any text, a BSON key may not.
Times are microseconds since 1970 in UTC, so that both stores keep the same value exactly.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from featurestore.model import names
from featurestore.model.etl import Granularity
from featurestore.model.etl import Kind as KindOfEtl

Pairs = tuple[tuple[str, str], ...]


class _Part(BaseModel):
    """Unknown fields are refused: a document of a newer release must not be half understood."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class NotesPart(_Part):
    """What people wrote beside a first save."""

    owner: str
    description: str
    labels: Pairs


class OrderPart(_Part):
    """One term of the promised order."""

    column: str
    descending: bool
    nulls_first: bool


class WarningPart(_Part):
    """What the save warned of."""

    reason: str
    message: str


class ProvenancePart(_Part):
    """Where a script was found."""

    repository: str
    ref: str
    commit: str
    path: str
    libraries: Pairs

    @property
    def sha256(self) -> str:
        """Equal for equal provenances only."""
        libraries = [part for pair in self.libraries for part in pair]
        return names.content_key(self.repository, self.ref, self.commit, self.path, *libraries)


class DeclarationsPart(_Part):
    """What a script says of itself. The defaults are what scripts said before they could say anything."""

    granularity: Granularity = "frame"
    pure: bool = False
    kind: KindOfEtl = "pandas"


class Document(_Part):
    """A stored document.

    Attributes:
        collection: where it is kept.
        unique: the fields of each unique index; saving is safe under any concurrency because these hold.
        lookups: the fields of each further index.
        newest_first: the fields that order a search, descending.
    """

    collection: ClassVar[str]
    unique: ClassVar[tuple[tuple[str, ...], ...]]
    lookups: ClassVar[tuple[tuple[str, ...], ...]] = ()
    newest_first: ClassVar[tuple[str, ...]]

    format: Literal[1] = 1
    created_at_us: int


class QueryDocument(Document):
    """A saved query. `schema_text` is for readers and the content key, `schema_arrow` is what is used."""

    collection = "queries"
    unique = (("content_key",), ("query_id",))
    lookups = (("created_at_us", "query_id"),)
    newest_first = ("created_at_us", "query_id")

    content_key: str
    query_id: str
    project: str = names.DEFAULT_PROJECT
    canonical_sql: str
    sql: str
    schema_text: Pairs
    schema_arrow: bytes
    engine_types: tuple[str, ...]
    order: tuple[OrderPart, ...]
    tables: tuple[str, ...]
    notes: NotesPart
    warnings: tuple[WarningPart, ...]
    uses_clock: bool

    @property
    def content(self) -> tuple[str, ...]:
        """What makes two queries the same; its hash is the content key."""
        return query_content(self.canonical_sql, self.schema_text, self.project)


class EtlDocument(Document):
    """A saved ETL. It holds its first provenance itself, so that there is never an ETL without one."""

    collection = "etls"
    unique = (("content_key",), ("etl_id",))
    lookups = (("created_at_us", "etl_id"),)
    newest_first = ("created_at_us", "etl_id")

    content_key: str
    etl_id: str
    query_id: str
    blob_sha256: str
    neighbours: Pairs
    contract_text: Pairs
    contract_arrow: bytes
    provenance: ProvenancePart
    notes: NotesPart
    declared: DeclarationsPart = DeclarationsPart()

    @property
    def content(self) -> tuple[str, ...]:
        """What makes two ETLs the same; its hash is the content key."""
        return etl_content(self.query_id, self.blob_sha256, self.neighbours, self.contract_text)


class ProvenanceDocument(Document):
    """A further provenance of an ETL, appended by a repeated save."""

    collection = "provenances"
    unique = (("etl_id", "provenance_sha256"),)
    newest_first = ("created_at_us", "provenance_sha256")

    etl_id: str
    provenance_sha256: str
    provenance: ProvenancePart


class NameDocument(Document):
    """One version of a name. The versions of a name are 1, 2, 3 ... without a gap."""

    collection = "names"
    unique = (("kind", "name", "version"),)
    lookups = (("id",),)
    newest_first = ("version", "kind", "name")

    kind: Literal["query", "etl"]
    name: str
    version: int
    id: str


class IndexKeyDocument(Document):
    """An index key that a save declared for a query, or for an ETL of that query.

    Attributes:
        served: how it served the query then; empty if that is not known.
    """

    collection = "index_keys"
    unique = (("query_id", "columns_sha256"),)
    newest_first = ("created_at_us", "columns_sha256")

    query_id: str
    columns: tuple[str, ...]
    columns_sha256: str
    served: str = ""


class DifferencePart(_Part):
    """Where training and serving did not agree."""

    key: str
    column: str
    trained: str
    served: str
    cause: str


class ReportDocument(Document):
    """What verifying a query or an ETL by an index key found last.

    Attributes:
        created_at_us: when it was verified.
        id: of the query or ETL.
        differences: the first ones.
    """

    collection = "reports"
    unique = (("id", "columns_sha256"),)
    newest_first = ("created_at_us", "columns_sha256")

    id: str
    columns: tuple[str, ...]
    columns_sha256: str
    checked: int
    agreed: int
    skipped: int
    differences: tuple[DifferencePart, ...]
    log_id: str
    sequence: int
    remarks: tuple[str, ...]
    exact: bool
    float_values: int
    float_values_bitwise_equal: int
    largest_error: float


COLLECTIONS: tuple[type[Document], ...] = (
    QueryDocument,
    EtlDocument,
    ProvenanceDocument,
    NameDocument,
    IndexKeyDocument,
    ReportDocument,
)


def query_content(
    canonical_sql: str, schema_text: Pairs, project: str = names.DEFAULT_PROJECT
) -> tuple[str, ...]:
    """Format version, project, canonical SQL, output schema."""
    return (str(names.FORMAT_VERSION), project, canonical_sql, *_flat(schema_text))


def etl_content(query_id: str, blob_sha256: str, neighbours: Pairs, contract_text: Pairs) -> tuple[str, ...]:
    """Query, script with the neighbours that it imports, output schema."""
    return (query_id, blob_sha256, *_flat(neighbours), *_flat(contract_text))


def _flat(pairs: Pairs) -> tuple[str, ...]:
    # The count keeps two lists that follow each other apart.
    return (str(len(pairs)), *(part for pair in pairs for part in pair))
