"""The comments at the top of a definition file: a small grammar, in which a slip is an error and never a comment."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from featurestore.cli.front_matter import PYTHON, SQL, Field, read_front_matter
from featurestore.model.errors import InvalidArgument

KNOWN = ("name", "index_key", "description", "owner")
BODY = {SQL: "SELECT 1 AS a\n", PYTHON: "class Etl: ...\n"}

values = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1).filter(
    lambda value: value == value.strip() and value.isprintable()
)
fields = st.dictionaries(st.sampled_from(KNOWN), values)
markers = st.sampled_from([SQL, PYTHON])


def read(text, marker=SQL):
    return read_front_matter("queries/a.sql", text, marker, KNOWN)


def test_fields_are_read_with_their_lines():
    assert read("-- name: quotes\n-- index_key: user_id, day\n\nSELECT 1") == {
        "name": Field("quotes", 1),
        "index_key": Field("user_id, day", 2),
    }


@pytest.mark.parametrize("marker", [SQL, PYTHON])
def test_a_file_that_begins_with_anything_else_has_none(marker):
    assert read(BODY[marker], marker) == {}
    assert read("", marker) == {}
    assert read(f"\n{marker} name: late\n{BODY[marker]}", marker) == {}


def test_a_blank_line_or_code_ends_it():
    assert read("-- name: a\n\n-- just a comment\nSELECT 1").keys() == {"name"}
    assert read("-- name: a\nSELECT 1\n-- owner: b").keys() == {"name"}


def test_values_may_hold_colons_comment_marks_and_spaces():
    assert read("-- description: a: b -- c # d  ")["description"].value == "a: b -- c # d"


def test_windows_line_ends_are_none_of_the_value():
    assert read("-- name: a\r\n-- owner: b\r\n\r\nSELECT 1") == {
        "name": Field("a", 1),
        "owner": Field("b", 2),
    }


@pytest.mark.parametrize(
    ("text", "line", "field", "said"),
    [
        ("-- name: a\n-- nmae: b", 2, "nmae", "no such field; was name meant?"),
        ("-- name: a\n-- owner: c\n-- name: b", 3, "name", "line 1 already"),
        ("-- name: ", 1, "name", "no value"),
        ("-- name:    \n", 1, "name", "no value"),
        ("-- owner: a\tb", 1, "owner", "control character"),
        ("-- owner: a\rb", 1, "owner", "control character"),
        ("-- Name: a", 1, "Name", "no such field"),
        ("-- One row per quote", 1, "", "front matter"),
        ("-- name: a\n--", 2, "", "front matter"),
        ("--name: a", 1, "", "front matter"),
        ("--  name: a", 1, "", "front matter"),
        ("-- name:a", 1, "", "front matter"),
        ("-- name : a", 1, "", "front matter"),
        ("-- index key: a", 1, "", "front matter"),
        ("\ufeff-- name: a", 1, "", "byte order mark"),
    ],
)
def test_a_slip_is_refused_by_file_line_and_field(text, line, field, said):
    with pytest.raises(InvalidArgument) as refused:
        read(text)
    assert refused.value.reason == "FRONT_MATTER"
    assert refused.value.details == {"file": "queries/a.sql", "line": str(line), "field": field}
    where = f"queries/a.sql line {line}" + (f", field {field}: " if field else ": ")
    assert refused.value.message.startswith(where)
    assert said in refused.value.message


@given(fields, markers, st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_is_read_back(written, marker, end):
    lines = [f"{marker} {field}: {value}" for field, value in written.items()]
    text = end.join([*lines, "", BODY[marker]])
    found = read(text, marker)
    assert {field: known.value for field, known in found.items()} == written
    assert [known.line for known in found.values()] == list(range(1, len(written) + 1))


@given(
    st.one_of(
        st.text(),
        st.lists(
            st.sampled_from(
                ["-- ", "--", "# ", "name", "owner", ": ", ":", " ", "\n", "\r", "\x85", "\0", "x"]
            )
        ).map("".join),
    ),
    markers,
)
@example("-- name: \u2028", SQL)
def test_any_text_is_read_or_refused_by_line(text, marker):
    lines = text.split("\n")
    found, refused = {}, None
    try:
        found = read(text, marker)
    except InvalidArgument as error:
        refused = error
    if refused is not None:
        assert refused.reason == "FRONT_MATTER"
        assert 1 <= int(refused.details["line"]) <= len(lines)
        return
    # Nothing is left out in silence: every comment line at the top is a field.
    top = next((at for at, line in enumerate(lines) if not line.startswith(marker)), len(lines))
    assert len(found) == top
    assert all(known.value and known.value.isprintable() for known in found.values())
