"""What private repositories want: a token or a key per host, each in a file of its own.

The setting `git_secrets` names a folder, such as a mounted secret:

    <host>.token      for https: the token, or `user:token`, on one line; `<host>_<port>.token` for another port than 443
    <host>.key        for ssh: the private key
    known_hosts       for ssh: the keys by which servers are known; without it ssh's own

They are read at each fetch, so that they can be changed while the service runs.
"""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from featurestore.model.errors import FailedPrecondition
from services.extraction.git_settings import GitSettings

_USER = "x-access-token"  # forges take any name beside a token that belongs to no user
_FORBIDDEN = 0o037
_TOKEN_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Token:
    """What is sent as basic authentication, over TLS only."""

    user: str
    token: str = field(repr=False)

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every form in which it might appear in what a server says."""
        pair = f"{self.user}:{self.token}".encode()
        return (self.token, base64.b64encode(pair).decode())


def token_for(scheme: str, host: str, port: int | None, settings: GitSettings) -> Token | None:
    """The token for a server; None if there is none, and for every scheme but https.

    Raises:
        FailedPrecondition: `GIT_SECRET`: its file is open to others, or holds no token.
    """
    folder = settings.secrets_folder
    if folder is None or scheme != "https":
        return None
    file = folder / (f"{host}.token" if port in (None, 443) else f"{host}_{port}.token")
    if not _usable(file):
        return None
    user, colon, token = _text(file).strip().rpartition(":")
    if not token or any(c.isspace() for c in user + token):
        raise _refused(file, "holds no token on one line")
    return Token(user if colon else _USER, token)


def spellings_of(url: str, settings: GitSettings) -> tuple[str, ...]:
    """What must not appear in anything that is said of a fetch from here."""
    parts = urlsplit(url)
    try:
        token = token_for(parts.scheme, parts.hostname or "", parts.port, settings)
    except FailedPrecondition:
        return ()  # then it was not used either
    return token.spellings if token else ()


def key_options(host: str, settings: GitSettings) -> list[str]:
    """What ssh is told for a server.

    Raises:
        FailedPrecondition: `GIT_SECRET`: the key's file is open to others.
    """
    folder = settings.secrets_folder
    if folder is None:
        return []
    options: list[str] = []
    if _usable(folder / f"{host}.key"):
        options += ["-o", "IdentitiesOnly=yes", "-i", str(folder / f"{host}.key")]
    if (folder / "known_hosts").is_file():
        options += ["-o", f'UserKnownHostsFile="{folder / "known_hosts"}"', "-o", "StrictHostKeyChecking=yes"]
    return options


def _usable(file: Path) -> bool:
    """Whether it is there; links are followed, as mounted secrets are made of them."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refused(file, "can't be read by this service") from error
    if not stat.S_ISREG(found.st_mode):
        raise _refused(file, "is no regular file")
    if found.st_mode & _FORBIDDEN:
        raise _refused(file, f"has mode {stat.S_IMODE(found.st_mode):04o}: `chmod 0400` it")
    if found.st_uid not in (0, os.geteuid()):
        raise _refused(file, "belongs to another user than root and this service's")
    return True


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()[: _TOKEN_BYTES + 1]
        return content.decode("ascii") if len(content) <= _TOKEN_BYTES else ""
    except UnicodeDecodeError:
        return ""
    except OSError as error:
        raise _refused(file, "can't be read by this service") from error


def _refused(file: Path, why: str) -> FailedPrecondition:
    return FailedPrecondition(
        "GIT_SECRET",
        f"the secret {file.name!r} of extraction {why}; nothing is fetched from its host until the operator has seen to it",
        secret=file.name,
        why=why,
    )
