"""A store with small limits, and after every case a look at its health: a good ETL is fetched, saved and served."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore.model.errors import FeatureStoreError
from featurestore.model.etl import EtlSource
from featurestore.model.query import QueryForm
from featurestore.model.serving import AnswerFormat, EtlRun, Keys
from services.extraction.blob_cache import BlobCache
from services.extraction.extraction import ExtractionService
from services.extraction.git_settings import GitSettings
from services.extraction.worker_types import WorkerLimits
from services.realtime.realtime import RealtimeService
from tests.support.descendants import children, descendants
from tests.support.git_repos import LOCALHOST, GitRepo, HttpServer, git_server
from tests.support.realtime_rows import new_id, opened, rows_of

SETTINGS = GitSettings(
    schemes=frozenset({"http", "https"}),
    networks=frozenset({"127.0.0.0/8"}),
    ca_file=str(LOCALHOST),
    fetch_timeout_seconds=10,
    max_script_bytes=2000,
    max_pack_bytes=300_000,
    max_objects=100,
    max_inflated_bytes=5_000_000,
)
SQL = "SELECT user_id FROM feature_store.events"
HEAD = "from etl_abc import AbstractEtl\n"
BODY = "class Etl(AbstractEtl):\n    def extract(self):\n        f = self.df.copy()\n        f['v'] = {}\n        return f\n"


def etl(value: object, imports: str = "") -> str:
    """A script whose feature `v` tells which code ran."""
    return f"{HEAD}{imports}{BODY.format(value)}"


@dataclass
class Store:
    """Extraction on a little data, under these git settings."""

    extraction: ExtractionService
    realtime: RealtimeService
    folder: Path
    secrets: Path

    def forget(self) -> None:
        """Lose the cache of scripts, so that what is saved has to be fetched again."""
        shutil.rmtree(self.folder / "blobs")

    async def save(self, address: str) -> EtlRun:
        """Run an ETL over the training rows, ready to be pinned, as saving does."""
        form = QueryForm(SQL, await self.realtime.describe(SQL))
        version = await self.realtime.version()
        trained = await self.extraction.extract_train(form, version, EtlSource(address=address), pin=True)
        async for _ in trained.batches:
            pass
        return EtlRun("etl_x", "qry_x", trained.script, form.columns, trained.head.schema)

    async def served(self, run: EtlRun) -> object:
        """The feature of one key, as a saved ETL serves it."""
        form = QueryForm(SQL, await self.realtime.describe(SQL))
        answer = await self.realtime.query("qry_x", form, Keys(("user_id",), ((1,),)), AnswerFormat.ARROW)
        answer = await self.extraction.run_etl(run, answer, AnswerFormat.ARROW)
        with pa.ipc.open_stream(answer.payload) as stream:
            return stream.read_all()["v"].to_pylist()[0]

    async def served_twice(self, run: EtlRun) -> list[object]:
        """The same with the script from the cache, and from its repository."""
        cached = await self.served(run)
        self.forget()
        return [cached, await self.served(run)]

    async def refused(self, address: str) -> FeatureStoreError:
        """Why an ETL can't be saved."""
        with pytest.raises(FeatureStoreError) as refusal:
            await self.save(address)
        return refusal.value


@pytest.fixture(scope="package")
async def realtime(tmp_path_factory) -> AsyncIterator[RealtimeService]:
    async with opened(tmp_path_factory.mktemp("realtime")) as service:
        await service.publish(new_id(), [rows_of("events", {"user_id": [1, 2]})])
        yield service


@pytest.fixture(scope="package")
async def store(tmp_path_factory, realtime) -> AsyncIterator[Store]:
    secrets, folder = tmp_path_factory.mktemp("secrets"), tmp_path_factory.mktemp("extraction")
    async with ExtractionService(
        folder,
        realtime,
        git=replace(SETTINGS, secrets=os.fspath(secrets)),
        workers=WorkerLimits(serving_seconds=60),
        scripts=BlobCache(folder / "blobs", remembered=0),  # so that what its folder loses is lost
    ) as extraction:
        yield Store(extraction, realtime, folder, secrets)


@pytest.fixture(scope="package")
def good(tmp_path_factory) -> Iterator[HttpServer]:
    """A server of a good ETL."""
    with ExitStack() as stack:
        repo = stack.enter_context(GitRepo(tmp_path_factory.mktemp("good")))
        repo.commit({"etl.py": etl(7)})
        yield stack.enter_context(git_server(etl=repo))


@pytest.fixture
def repo(tmp_path) -> Iterator[GitRepo]:
    with GitRepo(tmp_path / "repo") as made:
        yield made


@pytest.fixture
def server(repo) -> Iterator[HttpServer]:
    with git_server(etl=repo) as made:
        yield made


@pytest.fixture(autouse=True)
async def healthy(store, good) -> AsyncIterator[None]:
    yield
    run = await store.save(address_of(good))
    assert await store.served(run) == 7
    programs = [pid for pid in descendants() if b"services.extraction.git_process" in command_of(pid)]
    async with asyncio.timeout(20):
        while any(map(children, programs)) or list((store.folder / "fetches").glob("*/*")):  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.02)


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def address_of(server: HttpServer, ref: str = "main", path: str = "etl.py") -> str:
    """An ETL's address on a git server of this machine."""
    return f"git+{server.url}/team/etl.git{'@' if ref else ''}{ref}#{path}"
