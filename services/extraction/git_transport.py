"""Fetching with dulwich under limits: which servers may be asked, for how long, for how many bytes."""

from __future__ import annotations

import socket
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import SplitResult, unquote, urlsplit

import urllib3
from dulwich.client import (
    GitClient,
    HttpGitClient,
    HTTPUnauthorized,
    SSHGitClient,
    StrangeHostname,
    SubprocessSSHVendor,
    SubprocessWrapper,
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
from dulwich.protocol import Protocol
from dulwich.refs import Ref
from dulwich.repo import Repo

from featurestore.model.errors import (
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from services.extraction.git_address import GitAddress

BROKEN_ANSWER = (
    GitProtocolError,
    FileFormatException,
    ChecksumMismatch,
    ApplyDeltaError,
    WrongObjectException,
    AssertionError,  # dulwich asserts what a server should have sent
    ValueError,
    OSError,
    zlib.error,
    urllib3.exceptions.HTTPError,
)
"""What dulwich raises when the other side is gone, refuses, or is no git server."""

_SMART = "application/x-git-"
_NO_REPOSITORY = (
    "repository not found",
    "not appear to be a git repository",
    "not exist",
    "could not be found",
)


@dataclass(frozen=True, slots=True)
class GitSettings:
    """What may be fetched, and how much of it.

    Attributes:
        schemes: of `https`, `ssh`, `file`, `http`. `file` also lets local scripts be saved.
        hosts: the only hosts to ask, in lower case; None for any.
        fetch_timeout_seconds: for one fetch, waiting for a free thread included.
        max_script_bytes: the largest script.
        max_pack_bytes: what a server may send for one fetch, compressed.
        threads: fetches at a time.
        ssh_command: how ssh is started; keys, known hosts and ports go here or into ssh's own config.
    """

    schemes: frozenset[str] = frozenset({"https", "ssh"})
    hosts: frozenset[str] | None = None
    fetch_timeout_seconds: float = 30.0
    max_script_bytes: int = 2**20
    max_pack_bytes: int = 256 * 2**20
    threads: int = 4
    ssh_command: str = "ssh -o BatchMode=yes"


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
            "or have the operator add it to the extraction setting git.schemes",
            scheme=scheme,
            setting="git.schemes",
        )
    if settings.hosts is not None and scheme != "file" and host not in settings.hosts:
        raise PermissionDenied(
            "GIT_HOST",
            f"ETLs are not fetched from {host!r}: have the operator add it to the extraction setting git.hosts",
            host=host,
            setting="git.hosts",
        )


class Transfer:
    """One fetch, as a handle for the event loop: the fetching thread blocks, and this breaks it off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self.aborted = False

    def track(self, stop: Callable[[], None], close: Callable[[], None]) -> None:
        """Register a connection: `stop` ends a read that blocks another thread, `close` frees it."""
        with self._lock:
            self._connections.append((stop, close))
            if self.aborted:
                stop()

    def abort(self) -> None:
        """Make the fetch fail soon; from any thread, any number of times."""
        with self._lock:
            self.aborted = True
            for stop, _ in self._connections:
                stop()

    def close(self) -> None:
        """Free all connections; called by the fetching thread when it is done."""
        with self._lock:
            connections, self._connections = self._connections, []
        for stop, close in connections:
            stop()
            close()


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


def _tracked(pool: type[urllib3.HTTPConnectionPool], transfer: Transfer) -> type[urllib3.HTTPConnectionPool]:
    """The pool's class, with connections that can be broken off before the answer's head is there."""

    class Connection(pool.ConnectionCls):  # type: ignore[name-defined,misc] # which class depends on the scheme
        def connect(self) -> None:
            super().connect()
            sock = self.sock

            def stop() -> None:
                with suppress(OSError):  # it is closed already
                    sock.shutdown(socket.SHUT_RDWR)

            transfer.track(stop, lambda: None)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


class _Http(HttpGitClient):
    """dulwich's client, whose connections can be broken off, and which speaks to real git servers only."""

    def __init__(
        self, base_url: str, pool: _DirectPool | _ProxiedPool, seconds: float, transfer: Transfer
    ) -> None:
        super().__init__(base_url, pool_manager=pool, timeout=seconds)
        self._transfer = transfer

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,  # noqa: FBT001, FBT002 - dulwich's own signature
    ) -> tuple[Any, Callable[[int], bytes]]:
        # Statuses are judged here: dulwich would raise without closing the response.
        response, read = super()._http_request(url, headers, data, raise_for_status=False)
        raw: Any = response

        def stop() -> None:
            try:
                raw.shutdown()
            except (ValueError, RuntimeError, OSError):
                return  # it has ended by itself: no thread waits for it

        self._transfer.track(stop, raw.close)
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


class _SshProcess(SubprocessSSHVendor):
    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer

    def run_command(self, host: str, command: bytes, **kwargs: Any) -> SubprocessWrapper:  # type: ignore[override]  # passed on as they are
        connection = super().run_command(host, command, **kwargs)
        self._transfer.track(connection.proc.kill, connection.close)
        return connection


class _Ssh(SSHGitClient):
    """dulwich's client, whose process can be ended, and which leaves nothing open when ssh fails early."""

    def __init__(self, url: SplitResult, ssh_command: str, transfer: Transfer) -> None:
        super().__init__(
            host=url.hostname or "",
            port=url.port,
            username=url.username,
            vendor=_SshProcess(transfer),
            ssh_command=ssh_command,
        )
        self._transfer = transfer

    def _connect(
        self, cmd: bytes, path: str | bytes, protocol_version: int | None = None
    ) -> tuple[Protocol, Callable[[], bool], IO[bytes] | None]:
        protocol, can_read, stderr = super()._connect(cmd, path, protocol_version)
        self._transfer.track(lambda: None, protocol.close)
        return protocol, can_read, stderr


def _client(address: GitAddress, settings: GitSettings, transfer: Transfer) -> tuple[GitClient, str]:
    """A client for the address's server, and the repository's path there."""
    url = urlsplit(address.url)
    if url.scheme == "ssh":
        return _Ssh(url, settings.ssh_command, transfer), unquote(url.path)
    base = f"{url.scheme}://{url.netloc}"
    pool: Any = default_urllib3_manager(
        None, pool_manager_cls=_DirectPool, proxy_manager_cls=_ProxiedPool, base_url=base
    )

    def only_this_host(target: str) -> None:
        to = urlsplit(target)
        permit(to.scheme, to.hostname or "", settings)
        if to.hostname != url.hostname:
            raise GitProtocolError(f"it redirects to another host, {to.hostname}: use that address")

    pool.permit = only_this_host
    pool.connection_pool_kw["retries"] = urllib3.Retry(connect=0, read=0, redirect=3)
    pool.pool_classes_by_scheme = {
        scheme: _tracked(kind, transfer) for scheme, kind in pool.pool_classes_by_scheme.items()
    }
    transfer.track(lambda: None, pool.clear)
    return _Http(base, pool, settings.fetch_timeout_seconds, transfer), url.path


def download(
    address: GitAddress,
    into: Repo,
    wants: Callable[[Mapping[Ref, ObjectID]], list[ObjectID]],
    *,
    depth: int | None,
    settings: GitSettings,
    transfer: Transfer,
) -> None:
    """Fetch objects into a bare repository. Blocks.

    Args:
        address: of which the repository counts.
        into: gets one pack; without the blobs over `max_script_bytes` if the server can leave them out.
        wants: from the server's refs to the object ids to fetch.
        depth: commits of history; None for all.
        settings: the limits.
        transfer: through which the event loop may break it off.

    Raises:
        ResourceExhausted: `GIT_TOO_LARGE`: over `max_pack_bytes`.
        NotGitRepository, HTTPUnauthorized: the server is there, the repository is not.
        BROKEN_ANSWER: see there.
    """
    client, path = _client(address, settings, transfer)
    received = 0
    # No thin pack comes, though dulwich offers to take one: the empty repository has nothing to build on.
    pack, commit, abort = into.object_store.add_pack()

    def write(data: bytes) -> int:
        nonlocal received
        received += len(data)
        if received > settings.max_pack_bytes:
            raise ResourceExhausted(
                "GIT_TOO_LARGE",
                f"{address.repository} sends more than the {settings.max_pack_bytes} bytes that one fetch may have: "
                "keep ETLs in a smaller repository, or have the operator raise the extraction setting "
                "git.max_pack_bytes",
                repository=address.repository,
                limit_bytes=settings.max_pack_bytes,
            )
        return pack.write(data)

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
    except BaseException:
        abort()
        raise
    commit()


def _full_ref(address: GitAddress) -> list[bytes]:
    """More refs than branches and tags are asked for only when one is named: a large forge has millions."""
    return [ref.encode() for ref, _ in address.readings if ref.startswith("refs/")]


@contextmanager
def typed_errors(address: GitAddress, transfer: Transfer) -> Iterator[None]:
    """Turn what dulwich raises into the store's errors, and free the connections.

    Raises:
        NotFound: `ETL_SOURCE`: no such repository.
        Unavailable: `GIT_UNREACHABLE`, naming the host.
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
    finally:
        transfer.close()


def unreachable(address: GitAddress, why: str) -> Unavailable:
    """The error for a host that does not answer as it should."""
    where = address.host or address.repository
    return Unavailable(
        "GIT_UNREACHABLE",
        f"{where} could not be asked for {address.repository}: {why}; the same call may work later",
        host=address.host,
        repository=address.repository,
    )


def _no_repository(address: GitAddress, *, private: bool) -> NotFound:
    hint = ", or the extraction service may not read it (private ones: git+ssh with a key)" if private else ""
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
