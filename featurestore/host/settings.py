"""All settings of the services, read from the environment and nowhere else.

Names are `FEATURESTORE__` and the path through the models below, joined by a double underscore, such as
`FEATURESTORE__EXTRACTION__WAREHOUSE_MEMORY`. `docs/settings.md` is
generated from here by `make docs`, and a test compares the two.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from featurestore.host.folder import StoreFolder
from featurestore.model.errors import InvalidArgument
from gateway.app import GatewaySettings
from services.catalog.settings import CatalogSettings
from services.extraction.app import ExtractionSettings
from services.realtime.app import RealtimeSettings

PREFIX = "FEATURESTORE__"

_GIT = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy",
)  # fmt: skip


class PeerSettings(BaseModel, frozen=True, extra="forbid"):
    """Where the services that do not run in this process are."""

    catalog: str = Field("localhost:50052", description="host:port or unix:/path of the catalog.")
    realtime: str = Field("localhost:50053", description="host:port or unix:/path of realtime.")
    extraction: str = Field("localhost:50054", description="host:port or unix:/path of extraction.")


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True, frozen=True, extra="forbid"
    )

    listen: str = Field(
        "localhost:50051", description="host:port or unix:/path that this process answers on."
    )
    insecure: bool = Field(
        False,
        description="Allow plain text beyond loopback and UNIX sockets, such as inside a compose network.",
    )
    drain_seconds: float = Field(
        25.0, ge=0, description="How long calls under way may take to end after SIGTERM."
    )
    stream_idle_seconds: float = Field(
        60.0, gt=0, description="A stream whose reader takes nothing for so long is ended."
    )
    linger_seconds: float = Field(
        10.0, ge=0, description="How long the server of a local store stays after its last client."
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR; logs go to standard error.")
    peers: PeerSettings = PeerSettings()
    catalog: CatalogSettings = CatalogSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    extraction: ExtractionSettings = ExtractionSettings()
    gateway: GatewaySettings = GatewaySettings()


def read() -> Settings:
    """The settings in the environment.

    Raises:
        InvalidArgument: `UNKNOWN_SETTING`, with the nearest known name; `BAD_SETTING`, naming the variable.
    """
    known = {name for name, _ in names()}
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)
            raise InvalidArgument(
                "UNKNOWN_SETTING",
                f"there is no setting {name}; did you mean {near[0]}?",
                setting=name,
                nearest=near[0],
            )
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = PREFIX + "__".join(str(part).upper() for part in first["loc"])
        raise InvalidArgument("BAD_SETTING", f"setting {name}: {first['msg']}", setting=name) from None


def local_settings(folder: StoreFolder) -> Settings:
    """The settings of a local store: those in the environment, with everything that it keeps in its folder."""
    given = read()
    return given.model_copy(
        update={
            "listen": f"unix:{folder.socket}",
            "catalog": given.catalog.model_copy(
                update={"store_url": SecretStr(f"sqlite:///{folder.catalog}")}
            ),
            "realtime": given.realtime.model_copy(update={"folder": folder.realtime}),
            "extraction": given.extraction.model_copy(
                update={
                    "folder": folder.warehouse,
                    "git_schemes": "https,ssh,file",
                    "git_networks": "0.0.0.0/0,::/0",  # who asks is who runs it: nothing is reached that they can't
                }
            ),
            "gateway": given.gateway.model_copy(update={"folder": folder.gateway, "demo": True}),
        }
    )


def git_environment() -> dict[str, str]:
    """What reading git needs of the environment: ways to servers and to ssh's own files, and none of our settings."""
    return {name: os.environ[name] for name in _GIT if name in os.environ}


def names() -> Iterator[tuple[str, FieldInfo]]:
    """Every setting: its environment variable and what is known of it."""
    yield from _names(PREFIX, Settings)


def _names(prefix: str, model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _names(f"{prefix}{name.upper()}__", info.annotation)
        else:
            yield prefix + name.upper(), info


def page() -> str:
    """The settings as a page for people: `docs/settings.md`."""
    rows = "\n".join(f"| `{name}` | {_default(info)} | {info.description} |" for name, info in names())
    return (
        "# Settings\n\n"
        "All services read these environment variables at start, and nothing else but what leads to git servers (`https_proxy`,\n"
        "`no_proxy`, `SSL_CERT_FILE` and the like); an unknown name is refused with the nearest known one. Made by `make docs` from the code.\n\n"
        "| variable | default | what it does |\n| --- | --- | --- |\n"
        f"{rows}\n"
    )


def _default(info: FieldInfo) -> str:
    value = info.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return (
        ""
        if value is None or value == ""
        else f"`{str(value).lower() if isinstance(value, bool) else value}`"
    )


if __name__ == "__main__":
    sys.stdout.write(page())
