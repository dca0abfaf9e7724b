"""Fetching with dulwich under limits: whom a connection may reach, with what secret, for how many bytes.

All of it blocks, and all of it runs in a process of its own (`git_process`), which is killed when its time is over.
"""

from __future__ import annotations

import errno
import mmap
import shlex
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO
from urllib.parse import SplitResult, unquote, urlsplit

import urllib3
from dulwich.client import (
    GitClient,
    HttpGitClient,
    HTTPUnauthorized,
    SSHGitClient,
    StrangeHostname,
    default_urllib3_manager,
)
from dulwich.errors import (
    ApplyDeltaError,
    ChecksumMismatch,
    FileFormatException,
    GitProtocolError,
    NotGitRepository,
    WrongObjectException,
)
from dulwich.objects import ObjectID
from dulwich.pack import UnresolvedDeltas
from dulwich.refs import Ref
from dulwich.repo import Repo

from featurestore.model.errors import (
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from services.extraction.git_address import GitAddress
from services.extraction.git_network import addresses_of
from services.extraction.git_pack import PackTooLarge, measure
from services.extraction.git_secrets import Token, key_options, token_for
from services.extraction.git_settings import GitSettings, permit

BROKEN_ANSWER = (
    GitProtocolError,
    FileFormatException,
    ChecksumMismatch,
    ApplyDeltaError,
    WrongObjectException,
    UnresolvedDeltas,
    AssertionError,  # dulwich asserts what a server should have sent
    ValueError,
    OSError,
    zlib.error,
    urllib3.exceptions.HTTPError,
)
"""What dulwich raises when the other side is gone, refuses, or is no git server."""

_SMART = "application/x-git-"
_SSH_PORT = 22
_NO_REPOSITORY = (
    "repository not found",
    "not appear to be a git repository",
    "not exist",
    "could not be found",
)


class _DirectPool(urllib3.PoolManager):
    permit: Callable[[str], None]

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> urllib3.BaseHTTPResponse:  # type: ignore[override]  # noqa: FBT001, FBT002 - urllib3's own signature
        self.permit(url)
        return super().urlopen(method, url, redirect, **kw)


class _ProxiedPool(urllib3.ProxyManager):
    permit: Callable[[str], None]

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> urllib3.BaseHTTPResponse:  # type: ignore[override]  # noqa: FBT001, FBT002 - urllib3's own signature
        self.permit(url)
        return super().urlopen(method, url, redirect, **kw)


def _held_to_addresses(
    pool: type[urllib3.HTTPConnectionPool], settings: GitSettings
) -> type[urllib3.HTTPConnectionPool]:
    """The pool's class, with connections that go to an address that was judged, whatever the name leads to later."""

    class Connection(pool.ConnectionCls):  # type: ignore[name-defined,misc] # which class depends on the scheme
        host: str

        def _new_conn(self) -> socket.socket:
            name = self.host
            addresses = addresses_of(name, self.port, settings)
            try:
                for address in addresses:
                    self.host = address
                    try:
                        connected: socket.socket = super()._new_conn()
                    except urllib3.exceptions.HTTPError:
                        if address == addresses[-1]:
                            raise
                    else:
                        return connected
            finally:
                self.host = name  # by which the certificate is checked
            raise AssertionError("there is no address")

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


class _Http(HttpGitClient):
    """dulwich's client, which speaks to real git servers only."""

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,  # noqa: FBT001, FBT002 - dulwich's own signature
    ) -> tuple[Any, Callable[[int], bytes]]:
        response, read = super()._http_request(url, headers, data, raise_for_status=False)
        raw: Any = response
        if raise_for_status:
            if raw.status in (404, 410):
                raise NotGitRepository
            if raw.status in (401, 403):
                raise HTTPUnauthorized(raw.headers.get("WWW-Authenticate"), url)
            if raw.status != 200:
                raise GitProtocolError(f"it answers with HTTP status {raw.status}")
            if not (raw.headers.get("Content-Type") or "").startswith(_SMART):
                raise GitProtocolError("it answers, but not as a git server (smart HTTP) does")
        return raw, read


def _client(address: GitAddress, settings: GitSettings, token: Token | None) -> tuple[GitClient, str]:
    """A client for the address's server, and the repository's path there."""
    url = urlsplit(address.url)
    if url.scheme == "ssh":
        return _ssh_client(url, settings), unquote(url.path)
    base = f"{url.scheme}://{url.netloc}"
    pool: Any = default_urllib3_manager(
        None, pool_manager_cls=_DirectPool, proxy_manager_cls=_ProxiedPool, base_url=base
    )
    pool.permit = _only_there(url, settings, proxied=isinstance(pool, _ProxiedPool))
    pool.connection_pool_kw["retries"] = urllib3.Retry(connect=0, read=0, redirect=3)
    if settings.ca_file:
        pool.connection_pool_kw["ca_certs"] = settings.ca_file
    if not settings.any_network and isinstance(pool, _DirectPool):
        pool.pool_classes_by_scheme = {
            scheme: _held_to_addresses(kind, settings) for scheme, kind in pool.pool_classes_by_scheme.items()
        }
    client = _Http(
        base,
        pool_manager=pool,
        timeout=settings.fetch_timeout_seconds,
        username=token.user if token else None,
        password=token.token if token else None,
    )
    return client, url.path


def _only_there(url: SplitResult, settings: GitSettings, *, proxied: bool) -> Callable[[str], None]:
    """What judges every request, those after a redirect too."""

    def judge(target: str) -> None:
        to = urlsplit(target)
        permit(to.scheme, to.hostname or "", settings)
        if to.hostname != url.hostname:
            raise GitProtocolError(f"it redirects to another host, {to.hostname}: use that address")
        if url.scheme == "https" and to.scheme != "https":
            raise GitProtocolError("it redirects to a connection without TLS")
        if proxied and not settings.any_network:
            try:
                addresses_of(to.hostname or "", to.port or 443, settings)
            except OSError:
                return  # a name that only the proxy knows is the proxy's to judge

    return judge


def _ssh_client(url: SplitResult, settings: GitSettings) -> SSHGitClient:
    host = url.hostname or ""
    options = key_options(host, settings)
    if not settings.any_network:
        address = addresses_of(host, url.port or _SSH_PORT, settings)[0]
        alias = host if url.port in (None, _SSH_PORT) else f"[{host}]:{url.port}"
        options += ["-o", f"HostName={address}", "-o", f"HostKeyAlias={alias}"]
    return SSHGitClient(
        host=host,
        port=url.port,
        username=url.username,
        ssh_command=shlex.join([*shlex.split(settings.ssh_command), *options]),
    )


def download(
    address: GitAddress,
    into: Repo,
    wants: Callable[[Mapping[Ref, ObjectID]], list[ObjectID]],
    *,
    depth: int | None,
    settings: GitSettings,
) -> None:
    """Fetch objects into a bare repository.

    Args:
        address: of which the repository counts.
        into: gets one pack; without the blobs over `max_script_bytes` if the server can leave them out.
        wants: from the server's refs to the object ids to fetch.
        depth: commits of history; None for all.
        settings: the limits.

    Raises:
        PermissionDenied: `GIT_SCHEME`, `GIT_HOST`, `GIT_NETWORK`.
        FailedPrecondition: `GIT_SECRET`.
        ResourceExhausted: `GIT_TOO_LARGE`: the pack is over `max_pack_bytes`, `max_objects` or `max_inflated_bytes`.
        NotGitRepository, HTTPUnauthorized: the server is there, the repository is not.
        BROKEN_ANSWER: see there.
    """
    url = urlsplit(address.url)
    client, path = _client(address, settings, token_for(url.scheme, url.hostname or "", url.port, settings))
    received = 0
    # No thin pack comes, though dulwich offers to take one: the empty repository has nothing to build on.
    pack, commit, abort = into.object_store.add_pack()

    def write(data: bytes) -> int:
        nonlocal received
        received += len(data)
        if received > settings.max_pack_bytes:
            raise too_large(address, f"more than the {settings.max_pack_bytes} bytes that one fetch may have")
        try:
            return pack.write(data)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise too_large(
                    address, f"{received} bytes, for which there is no room on the disk"
                ) from error
            raise

    def determine_wants(refs: Mapping[Ref, ObjectID], depth: int | None = None) -> list[ObjectID]:  # noqa: ARG001 - dulwich passes it by name
        return wants(refs)

    try:
        client.fetch_pack(
            path,
            determine_wants,
            into.get_graph_walker(),
            write,
            depth=depth,
            ref_prefix=[b"HEAD", b"refs/heads/", b"refs/tags/", *_full_ref(address)],
            filter_spec=b"blob:limit=%d" % (settings.max_script_bytes + 1),
        )
        if received:
            _measure(pack, address, settings)
    except BaseException:
        abort()
        raise
    commit()


def _measure(pack: BinaryIO, address: GitAddress, settings: GitSettings) -> None:
    pack.flush()
    with mmap.mmap(pack.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            measure(content, max_objects=settings.max_objects, max_inflated_bytes=settings.max_inflated_bytes)
        except PackTooLarge as error:
            raise too_large(address, str(error)) from error


def _full_ref(address: GitAddress) -> list[bytes]:
    """More refs than branches and tags are asked for only when one is named: a large forge has millions."""
    return [ref.encode() for ref, _ in address.readings if ref.startswith("refs/")]


@contextmanager
def typed_errors(address: GitAddress) -> Iterator[None]:
    """Turn what dulwich raises into the store's errors.

    Raises:
        NotFound: `ETL_SOURCE`: no such repository.
        Unavailable: `GIT_UNREACHABLE`, naming the host.
        ResourceExhausted: `GIT_TOO_LARGE`: it does not fit into memory.
    """
    try:
        yield
    except (NotGitRepository, HTTPUnauthorized) as error:
        raise _no_repository(address, private=isinstance(error, HTTPUnauthorized)) from error
    except StrangeHostname as error:
        raise unreachable(address, "ssh refuses the host's name") from error
    except BROKEN_ANSWER as error:
        said = _said(error)
        # Over ssh the git command's words are all there is; over HTTP there was a status.
        if address.scheme == "ssh" and any(text in said.lower() for text in _NO_REPOSITORY):
            raise _no_repository(address, private=True) from error
        raise unreachable(address, said) from error
    except (MemoryError, BufferError) as error:  # the second: closing a file that the first left in use
        raise too_large(address, "objects that need more memory than one fetch may have") from error


def unreachable(address: GitAddress, why: str) -> Unavailable:
    """The error for a host that does not answer as it should."""
    where = address.host or address.repository
    return Unavailable(
        "GIT_UNREACHABLE",
        f"{where} could not be asked for {address.repository}: {why}; the same call may work later",
        host=address.host,
        repository=address.repository,
    )


def too_large(address: GitAddress, what: str) -> ResourceExhausted:
    """The error for a repository that is over a limit."""
    return ResourceExhausted(
        "GIT_TOO_LARGE",
        f"{address.repository} sends {what}: keep ETLs in a smaller repository, or have the operator raise the limits of "
        "extraction whose names begin with git_",
        repository=address.repository,
    )


def _no_repository(address: GitAddress, *, private: bool) -> NotFound:
    hint = (
        ", or the extraction service may not read it (private ones want a token or a key, see the setting git_secrets)"
        if private
        else ""
    )
    return NotFound(
        "ETL_SOURCE",
        f"repository missing: {address.repository} does not exist{hint}",
        what="repository",
        repository=address.repository,
    )


def _said(error: BaseException) -> str:
    """The cause in one short line: what ssh printed, what the server said, what the socket met."""
    lines = getattr(error, "stderr_lines", None)
    text = b" ".join(lines).decode(errors="replace") if lines else str(error)
    return " ".join(text.split())[:300] or type(error).__name__
