"""Real git repositories made with dulwich, and a git server over HTTP on loopback; no git binary."""

from __future__ import annotations

import os
import ssl
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from wsgiref.simple_server import make_server

from dulwich.index import commit_tree
from dulwich.objects import S_IFGITLINK, Blob, Commit, ObjectID, Tag
from dulwich.refs import Ref
from dulwich.repo import Repo
from dulwich.server import BackendRepo, DictBackend
from dulwich.web import WSGIRequestHandlerLogger, WSGIServerLogger, make_wsgi_chain

REGULAR = 0o100644
EXECUTABLE = 0o100755
SYMLINK = stat.S_IFLNK
SUBMODULE = S_IFGITLINK

LOCALHOST = Path(__file__).with_name("localhost.pem")
"""A key and its certificate for `localhost` and `127.0.0.1`, which is its own authority."""

_WHO = b"Ada <ada@example.com>"
_WHEN = 1_700_000_000

Content = str | bytes | tuple[int, str | bytes]
"""A file's text or bytes; or its mode with them: a link's target, a submodule's commit id."""
App = Callable[..., Iterable[bytes]]


class GitRepo:
    """A repository with a working folder on branch `main`; close it, or enter it.

    Commits are made object by object, so that they need neither index nor identity of the machine.

    Attributes:
        folder: the working folder. A commit writes its regular files there; nothing else does.
    """

    def __init__(self, folder: Path) -> None:
        """Make it, without a commit."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.repo = Repo.init(os.fspath(folder), default_branch=b"main")

    def commit(self, files: Mapping[str, Content], *, branch: str = "main", orphan: bool = False) -> str:
        """Commit files on top of a branch, which is made if it is not there; returns the commit's id.

        Args:
            files: path -> content; what is not named stays as it was.
            branch: a new one starts without files.
            orphan: forget the branch's history and files, as a force push of another history does.
        """
        store = self.repo.object_store
        ref = Ref(f"refs/heads/{branch}".encode())
        parent = None if orphan else self.repo.get_refs().get(ref)
        entries: dict[bytes, tuple[int, ObjectID]] = {}
        if parent:
            tree = self.repo[parent].tree  # type: ignore[attr-defined]  # a branch leads to a commit
            entries = {item.path: (item.mode, item.sha) for item in store.iter_tree_contents(tree)}
        for path, content in files.items():
            mode, data = content if isinstance(content, tuple) else (REGULAR, content)
            data = data.encode() if isinstance(data, str) else data
            if mode == SUBMODULE:
                entries[path.encode()] = (mode, ObjectID(data))
                continue
            blob = Blob.from_string(data)
            store.add_object(blob)
            entries[path.encode()] = (mode, blob.id)
            if branch == "main" and stat.S_ISREG(mode):
                self.write(path, data)
        commit = Commit()
        commit.tree = commit_tree(store, [(path, sha, mode) for path, (mode, sha) in entries.items()])
        commit.parents = [parent] if parent else []
        commit.author = commit.committer = _WHO
        commit.author_time = commit.commit_time = _WHEN
        commit.author_timezone = commit.commit_timezone = 0
        commit.message = b"a commit"
        store.add_object(commit)
        self.repo.refs[ref] = commit.id
        return commit.id.decode()

    def write(self, path: str, content: str | bytes) -> Path:
        """Write a file of the working folder without committing it."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def ref(self, name: str, commit: str) -> None:
        """Point a full ref, such as `refs/tags/v1`, to an object."""
        self.repo.refs[Ref(name.encode())] = ObjectID(commit.encode())

    def annotated_tag(self, name: str, target: str) -> str:
        """Tag a commit, or another annotated tag, with a tag object; returns that object's id."""
        tag = Tag()
        tag.name, tag.message, tag.tagger = name.encode(), b"a release", _WHO
        tag.tag_time, tag.tag_timezone = _WHEN, 0
        target_id = ObjectID(target.encode())
        tag.object = (type(self.repo[target_id]), target_id)
        self.repo.object_store.add_object(tag)
        self.ref(f"refs/tags/{name}", tag.id.decode())
        return tag.id.decode()

    @property
    def url(self) -> str:
        """Its `git+file://` address without ref and path."""
        return f"git+file://{quote(os.fspath(self.folder))}"

    def close(self) -> None:
        """Close its files; the folder stays."""
        self.repo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class HttpServer:
    """A WSGI application on a loopback port, in threads that end with `close`.

    Attributes:
        url: `http://127.0.0.1:<port>`, or with `https`.
        requests: method and path of every request so far.
        authorizations: the header `Authorization` of each, empty where there is none.
    """

    def __init__(self, app: App, *, tls: bool = False) -> None:
        """It serves from now on; with TLS by the certificate in `LOCALHOST`."""
        self.requests: list[str] = []
        self.authorizations: list[str] = []

        def recorded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
            self.authorizations.append(environ.get("HTTP_AUTHORIZATION", ""))
            return app(environ, start_response)

        self._server = make_server("127.0.0.1", 0, recorded, _Threads, WSGIRequestHandlerLogger)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(LOCALHOST)
            # The handshake is the threads' business: a client that never makes it must not hold up the others.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="git-server")
        self._thread.start()

    def close(self) -> None:
        """Answer what was asked, then listen no more; may be called again."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


class _Threads(ThreadingMixIn, WSGIServerLogger):
    daemon_threads = False  # so that closing waits for them


@contextmanager
def http_server(app: App, *, tls: bool = False) -> Iterator[HttpServer]:
    """Serve any application while the block runs."""
    server = HttpServer(app, tls=tls)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def git_server(**repositories: GitRepo) -> Iterator[HttpServer]:
    """Serve repositories by smart HTTP while the block runs, as a server before git's protocol 2 does.

    Args:
        repositories: `etl=repo` is at `<url>/team/etl.git`.
    """
    with http_server(git_app(**repositories)) as server:
        yield server


def git_app(**repositories: GitRepo) -> App:
    """The application of `git_server`."""
    served: dict[str, BackendRepo] = {f"/team/{name}.git": one.repo for name, one in repositories.items()}
    app: App = make_wsgi_chain(DictBackend(served))
    return app
