"""ETL scripts: honest ones, and ones that give other values in serving than in training, each with its cause."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent

HEADER = "import datetime, random, time, uuid\nimport numpy as np\nimport pandas as pd\nfrom etl_abc import AbstractEtl\n"


@dataclass(frozen=True)
class Script:
    """One script.

    Attributes:
        body: of `extract`; `f` is the frame.
        ordered: it is an ETL of the query with an ORDER BY.
        column: that differs, and the `cause`; empty for an honest one.
    """

    body: str
    before: str = ""
    ordered: bool = False
    column: str = ""
    cause: str = ""

    @property
    def text(self) -> str:
        method = indent(f"f = self.df\n{self.body}\n", "        ")
        return f"{HEADER}{self.before}\nclass Etl(AbstractEtl):\n    def extract(self):\n{method}"


KEYS = "['user_id', 'payment_id']"

HONEST = {
    "arithmetic": Script("f['x'] = f['amount'] * 2 + f['fee']\nreturn f"),
    "parts_of_a_moment": Script(
        "f['hour'] = f['moment'].dt.hour\nf['weekend'] = f['moment'].dt.dayofweek > 4\nreturn f"
    ),
    "time_between_columns": Script("f['age'] = (f['moment'] - f['born']).dt.days\nreturn f"),
    "text": Script("f['kind'] = f['kind'].str.upper().fillna('none')\nreturn f"),
    "one_hot_of_fixed_kinds": Script(
        "for k in 'abc':\n    f['is_' + k] = (f['kind'] == k).fillna(False)\nreturn f"
    ),
    "codes_of_fixed_categories": Script(
        "f['code'] = pd.Categorical(f['kind'], categories=['a', 'b', 'c']).codes\nreturn f"
    ),
    "mean_of_the_user": Script(
        "f['x'] = f['amount'] - f.groupby('user_id')['amount'].transform('mean')\nreturn f"
    ),
    "one_row_per_user": Script(
        "return f.groupby('user_id').agg(total=('amount', 'sum'), n=('payment_id', 'count')).reset_index()"
    ),
    "rank_within_the_user": Script("f['x'] = f.groupby('user_id')['amount'].rank()\nreturn f"),
    "lag_in_an_order_of_its_own": Script(
        "f = f.sort_values(['user_id', 'payment_id'])\nf['x'] = f.groupby('user_id')['amount'].shift(1)\nreturn f"
    ),
    "running_sum_in_the_promised_order": Script(
        "f['x'] = f.groupby('user_id')['fee'].cumsum()\nreturn f", ordered=True
    ),
    "rows_dropped_by_their_own_values": Script("return f[f['fee'] > 1]"),
    "nulls_filled_with_a_constant": Script("f['n'] = f['n'].fillna(0) + 1\nreturn f"),
    "a_generator_seeded_by_the_row": Script(
        "f['x'] = [np.random.default_rng(int(i)).normal() for i in f['payment_id']]\nreturn f"
    ),
    "a_memory_that_changes_nothing": Script(
        "for k in f['kind'].dropna():\n    MEMORY.setdefault(k, ord(k))\nf['x'] = f['kind'].map(MEMORY)\nreturn f",
        before="MEMORY = {}\n",
    ),
}

FRAME, TIME, RANDOM = "FRAME_DEPENDENT", "TIME_DEPENDENT", "RANDOM"
ORDER, CONTRACT = "ORDER_DEPENDENT", "CONTRACT"

SKEWED = {
    "frame_mean": Script("f['x'] = f['fee'] - f['fee'].mean()\nreturn f", column="x", cause=FRAME),
    "rank": Script("f['x'] = f['fee'].rank()\nreturn f", column="x", cause=FRAME),
    "fitted_scaler": Script(
        "low, high = f['fee'].min(), f['fee'].max()\nf['x'] = (f['fee'] - low) / (high - low + 1)\nreturn f",
        column="x",
        cause=FRAME,
    ),
    "now": Script(
        "f['x'] = (datetime.datetime.now() - f['moment']).dt.total_seconds()\nreturn f",
        column="x",
        cause=TIME,
    ),
    "today": Script(
        "f['x'] = datetime.date.today().toordinal() - f['n'].fillna(0)\nreturn f", column="x", cause=TIME
    ),
    "now_of_pandas_at_import": Script(
        "f['x'] = (NOW - f['moment']).dt.days\nreturn f",
        before="NOW = pd.Timestamp.now()\n",
        column="x",
        cause=TIME,
    ),
    "recent": Script(
        "f['x'] = f['moment'] > pd.to_datetime('now') - pd.Timedelta(days=30)\nreturn f",
        column="x",
        cause=TIME,
    ),
    "random_numbers": Script(
        "f['x'] = np.random.default_rng().normal(size=len(f))\nreturn f", column="x", cause=RANDOM
    ),
    "random_of_a_seeded_module": Script(
        "f['x'] = [RNG.random() for _ in range(len(f))]\nreturn f",
        before="RNG = random.Random(7)\n",
        column="x",
        cause=RANDOM,
    ),
    "uuids": Script(
        "f['x'] = [str(uuid.uuid4()) for _ in range(len(f))]\nreturn f", column="x", cause=RANDOM
    ),
    "a_sample_of_the_rows": Script("return f.sample(frac=0.5)", column="", cause=RANDOM),
    "calls_counted": Script(
        "global CALLS\nCALLS += 1\nf['x'] = CALLS\nreturn f", before="CALLS = 0\n", column="x", cause=RANDOM
    ),
    "order": Script(
        "f['x'] = f.groupby('user_id')['fee'].transform('first')\nreturn f", column="x", cause=ORDER
    ),
    "running_sum_in_no_order": Script(
        "f['x'] = f.groupby('user_id')['fee'].cumsum()\nreturn f", column="x", cause=ORDER
    ),
    "dtype_drift_from_nulls": Script(
        "has = f['n'].isna().any()\nf['x'] = f['n'].astype('float64' if has else 'int64').astype(str)\nreturn f",
        column="x",
        cause=FRAME,
    ),
    "int_to_float": Script(
        "f['x'] = f['payment_id'] if len(f) > 20 else f['payment_id'] * 1.0\nreturn f",
        column="x",
        cause=CONTRACT,
    ),
    "kinds_that_are_missing": Script(
        "counts = pd.crosstab(f['user_id'], f['kind']).reindex(columns=['a', 'b', 'c'])\nreturn counts.reset_index()",
        column="b",
        cause=FRAME,
    ),
    "dropped_rows": Script("return f[f['fee'] > f['fee'].quantile(0.4)]", column="", cause=FRAME),
    "extra_column": Script(
        "if f['n'].notna().all():\n    f['complete'] = True\nreturn f", column="complete", cause=CONTRACT
    ),
    "category_codes": Script(
        "f['x'] = f['kind'].astype('category').cat.codes\nreturn f", column="x", cause=FRAME
    ),
    "one_hot": Script("return pd.get_dummies(f, columns=['kind'])", column="kind_a", cause=CONTRACT),
    "row_numbers": Script("f['x'] = range(len(f))\nreturn f", column="x", cause=FRAME),
    "lag_over_users": Script("f['x'] = f['fee'].shift(1)\nreturn f", column="x", cause=FRAME),
    "nulls_filled_with_the_median": Script(
        "f['x'] = f['amount'].fillna(f['amount'].median())\nreturn f", column="x", cause=FRAME
    ),
    "fails_on_few_rows": Script("assert len(f) > 20\nreturn f", column="", cause=FRAME),
}
