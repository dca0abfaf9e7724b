"""What can be set about the catalogue."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, PositiveFloat, SecretStr

from services.catalog.store import DEFAULT_TIMEOUT_SECONDS


class CatalogSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of the catalogue service; `featurestore.host` reads them from the environment."""

    store_url: SecretStr = Field(
        default=SecretStr("mongodb://localhost:27017/featurestore"),
        description="Where it is kept: `mongodb://user:password@host:port/database` or `sqlite:///path`.",
    )
    store_password_file: Path | None = Field(
        default=None,
        description="A file that holds the password of the user in `store_url`, so that it need not stand there.",
    )
    id_key: SecretStr | None = Field(
        default=None,
        min_length=16,
        description=(
            "Secret from which new public ids are made. Unset: a fixed public key, so that the same save has "
            "the same id on a laptop and in production. A change affects new ids only."
        ),
    )
    timeout_seconds: PositiveFloat = Field(
        default=DEFAULT_TIMEOUT_SECONDS,
        description="For a call without a deadline, and for opening the store, in seconds.",
    )
