import hashlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.engine import inspector
from featurestore.engine.sql_check import parse

# A digest that moves gives every query saved before another id: raise the format version of content keys instead.
GOLDEN = [
    ("SELECT 1", "e004ebd5b5532a4b"),
    ("select a from feature_store.t", "445ce33eb2ce1604"),
    ("SELECT A FROM feature_store.t", "da892a70c8527a0f"),
    ('SELECT "a" FROM feature_store.t', "9527f5c222ad46ac"),
    ("SELECT a AS b FROM feature_store.t", "17078a25304b994f"),
    ("SELECT a b FROM feature_store.t", "fb1a0d0718640bd5"),
    ("SELECT * FROM feature_store.t WHERE a = 'x'", "294908029ab8f526"),
    ("SELECT * FROM feature_store.t WHERE a = 'X'", "88bb02d9b9b11d2e"),
    ("SELECT * FROM feature_store.t WHERE a = ' x '", "7001ee7e2a77a5e4"),
    ("SELECT * FROM feature_store.t WHERE (a = 1)", "8c905bacea5e9c0d"),
    ("SELECT * FROM feature_store.t WHERE a = 1", "363e3973b493bd0a"),
    ("SELECT * FROM feature_store.t WHERE a = 1.0", "7524619de30fa7b1"),
    ("SELECT * FROM feature_store.t WHERE a = 1e0", "7e1b97a24b49cbca"),
    ("SELECT 'it''s'", "d9f96d610fcdb687"),
    ("SELECT E'it\\'s\\n'", "f1975c4bc43e51ef"),
    ("SELECT $$it's$$", "da4888965b216903"),
    ("SELECT $tag$it's$tag$", "1931d32b22e7a163"),
    ("SELECT 'a'\n'b'", "112b15d452477ae9"),
    ("SELECT '-- no comment', '/* none */'", "47b761d830db98b9"),
    ('SELECT "-- no comment" FROM feature_store.t', "a12bc1e2724685c2"),
    ("SELECT a - -1 FROM feature_store.t", "6c723026bc620486"),
    ("SELECT a ^@ b FROM feature_store.t", "9ed38ce0d57ecbce"),
    ("SELECT a ^ @b FROM feature_store.t", "fea808b668d5b5df"),
    ("SELECT a || b FROM feature_store.t", "410abaf227924b88"),
    ("SELECT a::INTEGER FROM feature_store.t", "272fba5876175c6b"),
    ("SELECT CAST(a AS INTEGER) FROM feature_store.t", "6271a8a8f092cd37"),
    ("SELECT a[1], a[1:2] FROM feature_store.t", "976d801986d4a871"),
    ("SELECT {'a': 1}.a", "3b8ebb5fcbc5997c"),
    ("SELECT struct_pack(Left := 1)", "e5e2bd002d8ae979"),
    ("SELECT struct_pack(left := 1)", "a655ddee4fb09a9b"),
    ("SELECT 1 AS Order", "0d19941a1af4a768"),
    ("SELECT 1 AS order", "5843d4e2e5c3ac38"),
    ("SELECT t.Group FROM feature_store.t", "5d14e981ade6bc33"),
    ("SELECT t.group FROM feature_store.t", "9d3dd1fab6daaa73"),
    ("SELECT count(*) FROM feature_store.t GROUP BY a ORDER BY a DESC NULLS LAST", "86f9983f88f1f3ea"),
    (
        "SELECT a, sum(b) OVER (PARTITION BY a ORDER BY c ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM feature_store.t",
        "20a3008ffab82e4d",
    ),
    (
        "SELECT Q.* FROM feature_store.quotes Q LEFT JOIN feature_store.users U ON Q.user_id = U.user_id",
        "488545918ae20e5b",
    ),
    (
        "SELECT q.* FROM feature_store.quotes q LEFT JOIN feature_store.users u ON q.user_id = u.user_id",
        "78e1fb4bc4db17fd",
    ),
    ("WITH x AS (SELECT 1) SELECT * FROM x", "f2ce9a98e0a51a3f"),
    ("WITH x AS MATERIALIZED (SELECT 1) SELECT * FROM x", "043ccb65e6d64089"),
    (
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r",
        "5c0c29119cde4282",
    ),
    ("SELECT CASE WHEN a THEN 1 ELSE 2 END FROM feature_store.t", "bdaa1a117a5a847c"),
    (
        "SELECT a FROM feature_store.t WHERE a BETWEEN 1 AND 2 OR a IN (3, 4) AND NOT a IS NULL",
        "4abd69720d806141",
    ),
    ("SELECT a FROM feature_store.t WHERE a LIKE 'x%' ESCAPE '$'", "8a053cda8deacb64"),
    ("SELECT DISTINCT ON (a) a, b FROM feature_store.t", "0bafdd26999ae883"),
    ("SELECT a FROM feature_store.t UNION SELECT b FROM feature_store.u", "ab22d8eb93f1928e"),
    ("SELECT a FROM feature_store.t UNION ALL SELECT b FROM feature_store.u", "bcaa3e93b26a8871"),
    ("SELECT a FROM feature_store.t EXCEPT SELECT b FROM feature_store.u", "39c0c3f00ecf3b89"),
    ("SELECT date '2024-02-29', INTERVAL 1 day, interval '2' hour", "4a9b73c6c00460fb"),
    ("SELECT extract(year FROM a) FROM feature_store.t", "db7a8795cc90b86a"),
    ("SELECT a AT TIME ZONE 'UTC' FROM feature_store.t", "515ee853cea38b18"),
    ("SELECT x'AB', 0x1F, 1_000, .5, 1., 1.5e-3", "a89b1b23c5396896"),
    ("SELECT * EXCLUDE (a) FROM feature_store.t", "37effa48b550b84b"),
    ("SELECT COLUMNS('a.*') FROM feature_store.t", "0be4ede0f6dee1b3"),
    ("SELECT [x + 1 FOR x IN l IF x > 1] FROM feature_store.t", "831024aabe5cd8cc"),
    ("SELECT list_transform(l, lambda x: x + 1) FROM feature_store.t", "43c7eb690a055bb2"),
    ("FROM feature_store.t SELECT a", "dc3bb0697fcdad01"),
    ("VALUES (1), (2)", "900187b403caee7a"),
    ("PIVOT feature_store.t ON a IN (1, 2) USING sum(b)", "59f3de46234122e9"),
    ("SELECT 'ä', \"ß\" FROM feature_store.t", "6cbcb08e2728326e"),
    ("SELECT ä FROM feature_store.t", "09f97ec9bb5b1773"),
    (
        "SELECT count(*) FILTER (WHERE a), string_agg(b, ',' ORDER BY b) FROM feature_store.t",
        "815553bdc50b526a",
    ),
]


def digest(sql):
    return hashlib.sha256(parse(sql).canonical.encode()).hexdigest()[:16]


def tree(sql):
    return re.sub(r'"query_location": [0-9]+(, )?', "", json.dumps(inspector.parse_tree(sql)))


@pytest.mark.parametrize(("sql", "wanted"), GOLDEN)
def test_the_canonical_text_of_a_query_never_changes(sql, wanted):
    assert digest(sql) == wanted


def test_no_two_of_the_golden_queries_are_the_same():
    assert len({wanted for _, wanted in GOLDEN}) == len(GOLDEN)


@pytest.mark.parametrize("sql", [sql for sql, _ in GOLDEN])
def test_canonical_text_means_what_the_text_means(sql):
    # Behind the types, which are spelled as they are; DuckDB keeps no other trace of layout or keyword case.
    assert tree(parse(sql).canonical) == tree(sql)


@pytest.mark.parametrize("sql", [sql for sql, _ in GOLDEN])
def test_canonical_text_is_its_own_canonical_text(sql):
    once = parse(sql).canonical
    assert parse(once).canonical == once


SAME = [
    (
        "SELECT a, count(*) FROM feature_store.t WHERE b IS NOT NULL GROUP BY a ORDER BY a DESC NULLS LAST LIMIT 3",
        (
            "select a,count ( * )\n\tfrom feature_store . t /* c /* nested */ */ where b is not null\n-- d\n"
            "group by a order by a desc nulls last limit 3 ; -- e"
        ),
    ),
    (
        "SELECT CASE WHEN a THEN CAST(b AS VARCHAR) ELSE NULL END FROM feature_store.t LEFT OUTER JOIN feature_store.u USING (a)",
        "select case when a then cast(b as varchar) else null end from feature_store.t left outer join feature_store.u using(a)",
    ),
    (
        "SELECT sum(a) OVER (PARTITION BY b ORDER BY c ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM feature_store.t",
        "Select sum(a) Over (Partition By b Order By c Rows Between Unbounded Preceding And Current Row) From feature_store.t",
    ),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_layout_comments_and_keyword_case_make_no_difference(one, other):
    assert parse(one).canonical == parse(other).canonical


@given(
    st.lists(st.sampled_from([" ", "\n", "\t", "/* c */", "-- c\n", " /* '\" */ "]), min_size=1, max_size=4)
)
def test_any_layout_between_tokens_is_dropped(layout):
    gap = "".join(layout) + " "
    plain = "SELECT a . b , 'x' , c <> 1 FROM feature_store . t WHERE d ->> '$.e' = 'f'"
    assert parse(plain.replace(" ", gap)).canonical == parse(plain).canonical
