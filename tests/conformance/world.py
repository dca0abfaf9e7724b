"""What the cases of the conformance suite need: tables, saved queries, a repository with good and bad ETLs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import grpc
import pyarrow as pa

from featurestore.api.gateway.v1.gateway_pb2_grpc import FeatureStoreServiceStub
from featurestore.client.sync import Store
from featurestore.rpc.errors import from_rpc_error
from tests.support.git_repos import GitRepo

HEADER = "from etl_abc import AbstractEtl\nclass Etl(AbstractEtl):\n    def extract(self):\n"
BY_ROWS, BY_KEY = (
    HEADER.replace("    def", f"    granularity = {granularity!r}\n    def")
    for granularity in ("rows", "key")
)
SCRIPTS = {
    "good.py": HEADER
    + "        f = self.df[['user_id']].copy()\n        f['twice'] = self.df['amount'] * 2\n        return f\n",
    "same.py": HEADER + "        return self.df\n",
    "by_rows.py": BY_ROWS + "        return self.df[['user_id']].assign(twice=self.df['amount'] * 2)\n",
    "by_key.py": BY_KEY
    + "        return self.df[['user_id']].head(1).assign(share=self.df['amount'].sum() / len(self.df))\n",
    "raises.py": HEADER + "        a = 1\n        raise ValueError('on purpose')\n",
    "no_frame.py": HEADER + "        return 5\n",
    "endless.py": HEADER + "        while True:\n            pass\n",
    "no_class.py": "x = 1\n",
    "undecided.py": HEADER
    + "        import pandas as pd\n        return pd.DataFrame({'nothing': pd.Series([None] * len(self.df), dtype=object)})\n",
    "sets.py": HEADER
    + "        import pandas as pd\n        return pd.DataFrame({'odd': [{1, 2}] * len(self.df)})\n",
    "greedy.py": HEADER + "        import numpy as np\n        return np.ones(2_000_000_000)\n",
    "curious.py": HEADER + "        users = open('/etc/passwd').read()\n        return self.df\n",
    "exits.py": HEADER + "        import os\n        os._exit(3)\n",
    "curious_on_few.py": HEADER
    + "        if len(self.df) < 3:\n            open('/etc/passwd')\n        return self.df[['user_id']]\n",
    "greedy_on_few.py": HEADER
    + "        if len(self.df) < 3:\n            held = bytearray(2**34)\n        return self.df[['user_id']]\n",
    "exits_on_few.py": HEADER
    + "        import os\n        if len(self.df) < 3:\n            os._exit(3)\n        return self.df[['user_id']]\n",
    "huge.py": HEADER
    + "        import numpy as np, pandas as pd\n        return pd.DataFrame(np.zeros((280_000_000, 1)), columns=['zeros'], copy=False)\n",
    # These are honest over all rows and break on the rows of one key.
    "breaks_contract.py": HEADER
    + "        f = self.df[['user_id']].copy()\n        f['mean'] = 1.5 if len(self.df) < 3 else 1\n        return f\n",
    "raises_on_few.py": HEADER
    + "        if len(self.df) < 3:\n            raise KeyError('too few')\n        return self.df[['user_id']]\n",
    "endless_on_few.py": HEADER
    + "        while len(self.df) < 3:\n            pass\n        return self.df[['user_id']]\n",
    "none_on_few.py": HEADER + "        return None if len(self.df) < 3 else self.df[['user_id']]\n",
    "wide_on_few.py": HEADER
    + "        f = self.df[['user_id']].copy()\n        f['text'] = 'x' * (2_000_000 if len(self.df) < 3 else 1)\n        return f\n",
}


def order_rows() -> pa.Table:
    """Four orders of two users, and one of nobody."""
    return pa.table(
        {
            "order_id": pa.array([1, 2, 3, 4, 5], pa.int64()),
            "user_id": pa.array([1, 1, 2, 2, None], pa.int64()),
            "amount": pa.array([1.5, 2.5, None, 8.0, 1.0], pa.float64()),
            "day": pa.array(["a", "b", None, "d", "e"], pa.string()),
        }
    )


@dataclass
class World:
    """One arrangement's data, made once; cases that change something make their own names with `name`."""

    store: Store
    target: str
    arrangement: str
    folder: Path
    tag: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    _etls: dict[str, str] = field(default_factory=dict)

    def name(self, what: str) -> str:
        """A name that nobody else uses."""
        return f"{what}_{uuid.uuid4().hex[:8]}"

    @cached_property
    def orders(self) -> str:
        """A table with a primary key."""
        table = f"orders_{self.tag}"
        self.store.publish(table, order_rows(), primary_key="order_id")
        return table

    @cached_property
    def sql(self) -> str:
        """A query over it."""
        return f"SELECT order_id, user_id, amount, day FROM feature_store.{self.orders}"

    @cached_property
    def query(self) -> str:
        """Its id."""
        return self.store.query_train(self.sql, save=True, index_key="user_id").query_id

    @cached_property
    def other_query(self) -> str:
        """Another query's id."""
        return self.store.query_train(f"SELECT user_id FROM feature_store.{self.orders}", save=True).query_id

    @cached_property
    def stale(self) -> tuple[str, str]:
        """A saved query whose table has lost the column `v` that it returns, and an ETL of it."""
        table = self.name("stale")
        self.store.publish(table, [{"k": 1, "v": 1.5}], primary_key="k")
        query = self.store.query_train(
            f"SELECT * FROM feature_store.{table}", save=True, index_key="k"
        ).query_id
        etl = self.store.extract_train(query, self.script("same.py"), save=True).etl_id
        self.store.drop_table(table, force=True)
        self.store.publish(table, [{"k": 1, "w": 1.5}], primary_key="k")
        return query, etl

    @property
    def stale_query(self) -> str:
        """The query of `stale`."""
        return self.stale[0]

    @property
    def stale_etl(self) -> str:
        """The ETL of `stale`."""
        return self.stale[1]

    @cached_property
    def wide_query(self) -> str:
        """A saved query whose rows have 2 MB each."""
        table = self.name("wide")
        self.store.publish(table, [{"k": k, "text": "x" * 2_000_000} for k in range(3)], primary_key="k")
        return self.store.query_train(
            f"SELECT * FROM feature_store.{table}", save=True, index_key="k"
        ).query_id

    @cached_property
    def repo(self) -> GitRepo:
        """A repository with all scripts, on branch main."""
        repo = GitRepo(self.folder / "repo")
        repo.commit(SCRIPTS)
        return repo

    def script(self, path: str) -> str:
        """A script's address."""
        return f"git+file://{self.repo.folder}@main#{path}"

    def etl(self, path: str) -> str:
        """A script saved as an ETL of `query`: its id."""
        if path not in self._etls:
            self._etls[path] = self.store.extract_train(self.query, self.script(path), save=True).etl_id
        return self._etls[path]

    def raw(self, method: str, request: object, seconds: float = 30.0) -> object:
        """A call of the stub itself, for what the client can't say; a stream is read to its end."""
        with grpc.insecure_channel(self.target) as channel:
            try:
                reply = getattr(FeatureStoreServiceStub(channel), method)(request, timeout=seconds)
                return list(reply) if hasattr(reply, "__next__") else reply
            except grpc.RpcError as error:
                raise from_rpc_error(error) from None


Act = Callable[[World], object]
