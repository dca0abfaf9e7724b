"""What may be fetched, from whom, and how much of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from featurestore.model.errors import PermissionDenied

EVERY_NETWORK = frozenset({"0.0.0.0/0", "::/0"})


@dataclass(frozen=True, slots=True)
class GitSettings:
    """The limits of fetching.

    Attributes:
        schemes: of `https`, `ssh`, `file`, `http`. `file` also lets local scripts be saved.
        hosts: the only hosts to ask, in lower case; None for any.
        networks: that are not public and may be asked all the same, such as `10.0.0.0/8`. `EVERY_NETWORK` asks no
            questions: addresses are then neither looked up beforehand nor held to.
        secrets: a folder with what private repositories want, see `git_secrets`; empty for none.
        ca_file: certificates of the authorities that sign the servers', in PEM; empty for the well-known ones.
        fetch_timeout_seconds: for one fetch, waiting for its turn included.
        max_script_bytes: the largest script, and the largest file beside it.
        max_pack_bytes: what a server may send for one fetch, compressed.
        max_objects: how many objects that may be, and `max_inflated_bytes` their size.
        memory_bytes: what the process of one fetch may have.
        processes: fetches at a time.
        ssh_command: how ssh is started.
        environment: names and values of what the processes see of ours, such as `https_proxy`.
    """

    schemes: frozenset[str] = frozenset({"https", "ssh"})
    hosts: frozenset[str] | None = None
    networks: frozenset[str] = frozenset()
    secrets: str = ""
    ca_file: str = ""
    fetch_timeout_seconds: float = 30.0
    max_script_bytes: int = 2**20
    max_pack_bytes: int = 256 * 2**20
    max_objects: int = 200_000
    max_inflated_bytes: int = 2 * 2**30
    memory_bytes: int = 512 * 2**20
    processes: int = 4
    ssh_command: str = "ssh -o BatchMode=yes"
    environment: frozenset[tuple[str, str]] = field(default=frozenset(), repr=False)

    @property
    def any_network(self) -> bool:
        """Nobody asks where an address leads."""
        return self.networks >= EVERY_NETWORK

    @property
    def secrets_folder(self) -> Path | None:
        """Where secrets lie, if there are any."""
        return Path(self.secrets) if self.secrets else None

    def as_json(self) -> str:
        """These settings for another process, which has the environment already."""
        return json.dumps(
            {
                name: sorted(value) if isinstance(value, frozenset) else value
                for name, value in asdict(self).items()
                if name != "environment"
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `as_json`."""
        given: dict[str, Any] = {
            name: frozenset(value) if isinstance(value, list) else value
            for name, value in json.loads(text).items()
        }
        return cls(**given)


def permit(scheme: str, host: str, settings: GitSettings) -> None:
    """The one place that decides whether a server may be asked. Redirects pass through here, too.

    Raises:
        PermissionDenied: `GIT_SCHEME` or `GIT_HOST`, naming the setting.
    """
    if scheme not in settings.schemes:
        allowed = ", ".join(sorted(settings.schemes)) or "none"
        raise PermissionDenied(
            "GIT_SCHEME",
            f"'git+{scheme}' addresses are not allowed here (allowed: {allowed}): use another address, "
            "or have the operator add it to the extraction setting git_schemes",
            scheme=scheme,
            setting="git_schemes",
        )
    if settings.hosts is not None and scheme != "file" and host not in settings.hosts:
        raise PermissionDenied(
            "GIT_HOST",
            f"ETLs are not fetched from {host!r}: have the operator add it to the extraction setting git_hosts",
            host=host,
            setting="git_hosts",
        )
