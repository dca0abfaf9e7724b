"""The canary: what it finds in a sealed worker, in one that is not, and what follows when something is found."""

import os
import socket

import pyarrow as pa
import pytest

from featurestore.etl import control, wire
from featurestore.model.errors import FailedPrecondition
from services.extraction import canary, launchers
from services.extraction.worker_pool_process import WorkerProcess
from services.extraction.worker_types import EtlCode, Sandbox, WorkerLimits
from services.extraction.workers import WorkerPool
from services.extraction.zygote_process import CannotSealHere, Zygote

ROWS = pa.table({"x": [1]})
SAME = EtlCode(
    "from etl_abc import AbstractEtl\nclass Etl(AbstractEtl):\n    def extract(self):\n        return self.df\n",
    "etl.py",
    "0",
)


async def run(pool):
    return await pool.run(SAME, [ROWS], input_schema=ROWS.schema, contract=None, deadline_seconds=30)


async def test_a_sealed_worker_can_do_none_of_the_forbidden_acts():
    zygote = await Zygote.start(WorkerLimits().caps)
    try:
        assert await canary.forbidden_acts_done(await zygote.fork()) == []
    finally:
        await zygote.close()


async def test_a_worker_that_is_not_sealed_can_do_most_of_them():
    done = await canary.forbidden_acts_done(await WorkerProcess.start())
    assert len(done) >= 14, done


async def test_one_act_that_succeeds_and_no_etl_is_run_saying_what_to_set(monkeypatch):
    async def one(worker):
        worker.kill()
        await worker.wait()
        return ["open a TCP socket"]

    monkeypatch.setattr(canary, "forbidden_acts_done", one)
    async with WorkerPool() as pool:
        with pytest.raises(FailedPrecondition) as caught:
            await run(pool)
        assert caught.value.reason == "ETL_UNSEALED"
        assert "open a TCP socket" in caught.value.message
        assert "FEATURESTORE__EXTRACTION__SANDBOX=unsafe" in caught.value.message
        assert "open a TCP socket" in pool.refusal
        with pytest.raises(FailedPrecondition):
            await run(pool)


async def test_a_kernel_that_cannot_seal_is_named_and_the_unsafe_setting_runs_scripts(monkeypatch, caplog):
    async def never(_):
        raise CannotSealHere("this kernel has no Landlock")

    monkeypatch.setattr(launchers.Zygote, "start", never)
    async with WorkerPool() as pool:
        with pytest.raises(FailedPrecondition, match="no Landlock"):
            await run(pool)
    async with WorkerPool(sandbox=Sandbox.UNSAFE) as pool:
        assert (await run(pool)).tables == [ROWS]
    assert any("UNSEALED" in record.message and record.levelname == "CRITICAL" for record in caplog.records)


async def test_descriptors_that_a_worker_attaches_to_its_answer_never_arrive():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    control.send(theirs, {"header": 1, "body": 2}, [0, 1, 2])
    assert control.decode(ours.recv(control.MESSAGE_BYTES), control.ANSWER) == {"header": 1, "body": 2}
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"{",
        b"[1,2]",
        b"{}",
        b'{"header":1}',
        b'{"header":1,"body":2,"more":3}',
        b'{"header":true,"body":2}',
        b'{"header":1.0,"body":2}',
        b'{"header":"1","body":2}',
        b'{"header":null,"body":2}',
        b"\x80\x04\x95pickle",
        b"\xff\xfe",
        b"[" * 4000,
        b'{"header":' + b"9" * 4000,
        b'{"header":1,"body":2}' + b" " * control.MESSAGE_BYTES,
    ],
)
def test_a_control_message_of_any_other_shape_is_refused(packet):
    with pytest.raises(control.BadMessage):
        control.decode(packet, control.ANSWER)


def test_a_request_body_starts_where_arrow_wants_it():
    counts, body = wire.encode_tables([ROWS], ROWS.schema)
    assert counts == [1]
    assert len(body) % 8 == 0
