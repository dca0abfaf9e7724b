"""What `etl=` may say: a file in a git repository, told apart from ids, names and local paths.

An address is written as pip does up to `@ref`, then `#path/to/file.py`:

    git+https://host/org/repo.git@ref#path/to/file.py
    git+ssh://git@host/org/repo.git@ref#path/to/file.py
    git+file:///absolute/repo@ref#path/to/file.py

The ref is a branch, a tag or a whole commit id, and may hold slashes; without `@ref` it is HEAD. As in pip,
the last `@` of the repository's path starts the ref. `%40`, `%23`, `%25` stand for `@`, `#`, `%` in a ref or
path. The link of a file's page on GitHub or GitLab is an address too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NoReturn
from urllib.parse import SplitResult, quote, unquote, urlsplit

from dulwich.refs import Ref, check_ref_format

from featurestore.model.errors import InvalidArgument
from featurestore.model.names import Kind

SCHEMES = ("https", "ssh", "file", "http")
EXAMPLE = "git+https://host/org/repo.git@main#path/to/file.py"

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(:(?P<port>[0-9]{1,5}))?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SCP_LIKE = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:")
_GITHUB_PAGE = re.compile(r"(?P<repository>/[^/]+/[^/]+)/(?P<view>blob|tree|raw)/(?P<rest>.+)")
_GITLAB_PAGE = re.compile(r"(?P<repository>/.+?)/-/(?P<view>blob|tree|raw)/(?P<rest>.+)")


@dataclass(frozen=True, slots=True)
class GitAddress:
    """One file at one ref of one repository.

    Attributes:
        url: the repository's, without `git+`; never holds a password or token.
        ref: branch, tag, `refs/...` or 40 hex digits; empty for HEAD.
        path: of the file, from the repository's root, with `/`.
        undivided: the address is a web page's link, in which nothing divides a ref with slashes from the
            path: then `ref` is the first segment only, and the refs that exist decide (see `readings`).
    """

    url: str
    ref: str
    path: str
    undivided: bool = False

    @property
    def scheme(self) -> str:
        """One of `SCHEMES`."""
        return urlsplit(self.url).scheme

    @property
    def host(self) -> str:
        """The host's name without user and port; empty for a file address."""
        return urlsplit(self.url).hostname or ""

    @property
    def repository(self) -> str:
        """The address without ref and path: what is stored, and fetched from again."""
        return f"git+{self.url}"

    @property
    def readings(self) -> tuple[tuple[str, str], ...]:
        """The ways to read it as (ref, path); more than one for a link only.

        At most one of them names a branch that exists: git keeps no branch `a` beside a branch `a/b`.
        """
        if not self.undivided:
            return ((self.ref, self.path),)
        parts = f"{self.ref}/{self.path}".split("/")
        return tuple(("/".join(parts[:n]), "/".join(parts[n:])) for n in range(1, len(parts)))

    def __str__(self) -> str:
        ref = f"@{quote(self.ref)}" if self.ref else ""
        return f"{self.repository}{ref}#{quote(self.path)}"


def is_commit_id(ref: str) -> bool:
    """Whether the ref is a whole commit id: 40 lower-case hex digits."""
    return _COMMIT.fullmatch(ref) is not None


def kind_of(text: str) -> Literal["git", "path", "id", "name"]:
    """What `etl=` names. The first rule that fits decides; nothing is looked up.

    1. "git": starts with `git+`, holds `://`, or is `user@host:...`.
    2. "path": holds a slash or backslash, starts with `.` or `~`, or ends in `.py`.
    3. "id": starts with `etl_` or `qry_` (a swapped id is named as such by who looks it up).
    4. "name": everything else, `name@2` included. A name that ends in `.py` can't be reached this way.
    """
    if text.startswith("git+") or "://" in text or _SCP_LIKE.match(text):
        return "git"
    if "/" in text or "\\" in text or text.startswith((".", "~")) or text.endswith(".py"):
        return "path"
    if text.startswith(tuple(kind.prefix for kind in Kind)):
        return "id"
    return "name"


def parse(text: str) -> GitAddress:
    """Read an address; nothing is looked up, and no setting is asked whether its scheme may be used.

    Raises:
        InvalidArgument: `ETL_ADDRESS`, with the wrong `part` (scheme, host, credentials, repository, ref,
            path, query) in its details. No message repeats what may be a password.
    """
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
        _refuse("address", "it holds a line break or another control character")
    if not text.startswith("git+"):
        return _parse_page(text)
    before, _, fragment = text.partition("#")
    url = _split(before.removeprefix("git+"))
    if url.scheme not in SCHEMES:
        known = ", ".join(f"git+{scheme}" for scheme in SCHEMES)
        _refuse("scheme", f"'git+{url.scheme}' is not one of {known}")
    if url.query:
        _refuse("query", "a '?' and what follows it don't belong in a repository's address")
    netloc = _checked_netloc(url)
    repository_path, at, ref = url.path.rpartition("@") if "@" in url.path else (url.path, "", "")
    repository_path = repository_path.rstrip("/")
    if not repository_path.strip("/"):
        _refuse("repository", "the repository's path is missing after the host")
    if at and not ref:
        _refuse("ref", "nothing follows the '@': name a branch, tag or commit, or leave the '@' out for HEAD")
    if not fragment:
        _refuse("path", "the file's path is missing: add '#' and the path from the repository's root")
    return GitAddress(
        url=f"{url.scheme}://{netloc}{repository_path}",
        ref=_checked_ref(unquote(ref)),
        path=_checked_path(unquote(fragment)),
    )


def pinned(repository: str, commit: str, path: str) -> GitAddress:
    """The address of a saved script.

    Args:
        repository: `GitAddress.repository`, as it was stored.
        commit: 40 hex digits.
        path: from the repository's root.

    Raises:
        InvalidArgument: `ETL_ADDRESS`.
    """
    return parse(f"{repository}@{commit}#{quote(path)}")


def _parse_page(text: str) -> GitAddress:
    if _SCP_LIKE.match(text):
        user_and_host, _, path = text.partition(":")
        example = (
            f"git+ssh://{user_and_host}/{path.split('#')[0].split('@')[0].lstrip('/')}@main#path/to/file.py"
        )
        _refuse("scheme", "'user@host:path' is not a URL", example=example)
    url = _split(text)
    if url.scheme not in ("https", "http"):
        _refuse("scheme", "it starts neither with 'git+' nor is it a file's page on GitHub or GitLab")
    netloc = _checked_netloc(url)
    page = _GITLAB_PAGE.fullmatch(url.path) or _GITHUB_PAGE.fullmatch(url.path)
    if page is None:
        _refuse(
            "scheme", "a repository's address starts with 'git+', and a link must be that of a file's page"
        )
    if page["view"] != "blob":
        _refuse("path", f"it is a link to a {page['view']!r} page: open the file and copy that page's link")
    ref, _, path = unquote(page["rest"]).partition("/")
    if not path:
        _refuse("path", "the link names a branch, but no file: open the file and copy that page's link")
    repository_path = page["repository"].removesuffix(".git")
    return GitAddress(
        url=f"{url.scheme}://{netloc}{repository_path}.git",
        ref=_checked_ref(ref),
        path=_checked_path(path),
        undivided=True,
    )


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        _refuse("host", "the host can't be read")


def _checked_netloc(url: SplitResult) -> str:
    """The lower-case host with its port, and for ssh with its user."""
    if url.scheme == "file":
        if url.netloc:
            _refuse(
                "host",
                "a file address has three slashes and no host",
                example="git+file:///srv/repo@main#etl.py",
            )
        return ""
    user, at, _ = url.netloc.rpartition("@")
    if at and (url.scheme != "ssh" or ":" in user):
        _refuse(
            "credentials",
            "a user name, password or token in the address would be stored in the catalogue: take it out, "
            "and give the extraction service access by an ssh key",
        )
    if at and not _USER.fullmatch(user):
        _refuse("host", "the user before the host's '@' can't be read")
    host_and_port = _HOST_AND_PORT.fullmatch(url.netloc.rpartition("@")[2])
    if host_and_port is None or int(host_and_port["port"] or 0) > 65_535:
        _refuse(
            "host",
            "what follows the host's ':' is no port number; a '/' comes between host and path",
            example="git+ssh://git@host/org/repo.git@main#path/to/file.py",
        )
    host = url.hostname or ""
    if not _HOST.fullmatch(host):
        _refuse("host", "the host is missing or can't be read")
    host = f"[{host}]" if ":" in host else host
    return f"{user}{at}{host}" + (f":{host_and_port['port']}" if host_and_port["port"] else "")


def _checked_ref(ref: str) -> str:
    if ref and not check_ref_format(Ref(f"refs/heads/{ref}".encode())):
        _refuse(
            "ref",
            f"{ref!r} is no branch, tag or commit; expressions such as 'HEAD~1' are not read, "
            "and a commit is written with all its 40 digits",
        )
    return ref


def _checked_path(path: str) -> str:
    if path.endswith("/") or path.startswith("/") or "\\" in path or "\0" in path:
        _refuse(
            "path", f"{path!r} must lead from the repository's root to a file, with '/' between the folders"
        )
    if any(part in ("", ".", "..") for part in path.split("/")):
        _refuse("path", f"{path!r} holds an empty, '.' or '..' segment")
    return path


def _refuse(part: str, why: str, *, example: str = EXAMPLE) -> NoReturn:
    raise InvalidArgument(
        "ETL_ADDRESS",
        f"the {part} of the ETL's address is wrong: {why}; an address looks like {example}"
        if part != "address"
        else f"the ETL's address is wrong: {why}; an address looks like {example}",
        part=part,
        example=example,
    )
