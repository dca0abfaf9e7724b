"""The canary: a script that tries what no script may do, run in a sealed worker before any other."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pyarrow as pa

from featurestore.etl import wire
from services.extraction.worker_protocol import BadReply, Worker

_log = logging.getLogger(__name__)

_SCRIPT = Path(__file__).with_name("canary_script.py")
_SECONDS = 20
_BODY_BYTES = 2**16


async def forbidden_acts_done(worker: Worker) -> list[str]:
    """What the canary could do in this worker, which is ended then; empty where the seal holds.

    Raises:
        WorkerDied: it ended before it answered.
        BadReply: it did not try, or not in time.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            return await _tried(worker)
    except TimeoutError as error:
        raise BadReply(f"the canary was not done after {_SECONDS} s") from error
    finally:
        worker.kill()
        await worker.wait()


async def _tried(worker: Worker) -> list[str]:
    table = pa.table({"nothing": pa.nulls(1, pa.int64())})
    counts, body = wire.encode_tables([table], table.schema)
    source = await asyncio.to_thread(_SCRIPT.read_text)
    header = {
        "script": {"source": source, "path": _SCRIPT.name, "class_name": "Etl", "modules": {}},
        "modules_allowed": [],
        "contract": None,
        "batches": counts,
        "output_bytes": _BODY_BYTES,
    }
    reply, stream = await worker.ask(header, body, body_limit=_BODY_BYTES)
    if "failed" in reply:
        raise BadReply(f"the canary's script failed: {str(reply['failed'])[:500]}")
    answers = wire.decode_tables(reply["batches"], stream)[0]
    answers.validate(full=True)
    *done, tried = answers["done"].to_pylist()
    _log.info("the canary had %s forbidden acts, and could do %d", tried, len(done))
    return [str(each) for each in done]
