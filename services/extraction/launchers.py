"""Who starts ETL workers: sealed ones, or where somebody insists, plain processes."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Self

from featurestore.etl.control import Caps
from featurestore.model.errors import FailedPrecondition
from services.extraction import canary
from services.extraction.sealed_process import SealedWorker
from services.extraction.worker_pool_process import WorkerProcess
from services.extraction.worker_protocol import BadReply, WorkerDied
from services.extraction.zygote_process import CannotSealHere, Zygote

_log = logging.getLogger(__name__)

SETTING = "FEATURESTORE__EXTRACTION__SANDBOX=unsafe"

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 5.0


class SealedLauncher:
    """Keeps a zygote alive and forks sealed workers from it, once a canary has shown that the seal holds."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._zygote: asyncio.Future[Zygote] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.refusal: FailedPrecondition | None = None
        """Why no worker is started, ever; None while there is no reason."""

    async def __aenter__(self) -> Self:
        self._zygote = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        if self._zygote is not None:
            self._zygote.cancel()

    async def start(self) -> SealedWorker:
        """See `worker_protocol.Launcher`. While the zygote is restarting this waits."""
        while True:
            if self.refusal is not None:
                raise self.refusal
            if self._zygote is None:
                raise RuntimeError("the launcher is not entered")
            zygote = await asyncio.shield(self._zygote)
            try:
                return await zygote.fork()
            except WorkerDied:
                if not zygote.dead.is_set():
                    raise
                await asyncio.sleep(0)  # the keeper puts another one in its place

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while self.refusal is None:
            try:
                zygote = await Zygote.start(self._caps)
            except CannotSealHere as error:
                self._refuse(str(error))
                return
            except (WorkerDied, OSError):
                _log.exception("the ETL zygote did not start; trying again in %g s", pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            try:
                if not await self._proved(zygote):
                    continue
                pause = _FIRST_PAUSE_SECONDS
                self._ready(zygote)
                await zygote.dead.wait()
                _log.warning("the ETL zygote died, and its workers with it; starting another one")
                self._zygote = asyncio.get_running_loop().create_future()
            finally:
                await zygote.close()

    async def _proved(self, zygote: Zygote) -> bool:
        """Whether the canary could do nothing forbidden. A zygote that died meanwhile has shown nothing."""
        try:
            done = await canary.forbidden_acts_done(await zygote.fork())
        except BadReply as error:
            self._refuse(f"a sealed worker did not get as far as the canary: {error}")
            return False
        except WorkerDied:
            if zygote.dead.is_set():
                await asyncio.sleep(_FIRST_PAUSE_SECONDS)
            else:
                self._refuse("the canary's worker died")
            return False
        if done:
            self._refuse(f"the canary could do what is forbidden: {', '.join(done)}")
        return not done

    def _ready(self, zygote: Zygote) -> None:
        if self._zygote is not None and not self._zygote.done():
            self._zygote.set_result(zygote)

    def _refuse(self, why: str) -> None:
        _log.critical("no ETL is served: %s", why)
        self.refusal = FailedPrecondition(
            "ETL_UNSEALED",
            f"ETLs are not run here, because their workers can't be sealed: {why}. Where every script may be "
            f"trusted, {SETTING} runs them in plain processes",
            why=why,
        )
        if self._zygote is not None and not self._zygote.done():
            self._zygote.set_exception(self.refusal)
            self._zygote.exception()  # it is no loss if nobody asks


class PlainLauncher:
    """Starts plain processes: a script may do whatever this service's user may."""

    refusal: FailedPrecondition | None = None

    async def __aenter__(self) -> Self:
        _log.critical(
            "ETL scripts run UNSEALED (%s): they may read files, reach the network and start processes",
            SETTING,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left: each worker is ended by its owner."""

    async def start(self) -> WorkerProcess:
        """See `worker_protocol.Launcher`."""
        return await WorkerProcess.start()
