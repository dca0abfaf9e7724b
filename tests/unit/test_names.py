"""Ids, names, references and content keys."""

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.model.errors import InvalidArgument
from featurestore.model.names import Kind, check_name, content_key, is_id, public_id, split_reference

QUERY_ID = "qry_" + "abcdefghijklmnopqrstuvwxyz"
ETL_ID = "etl_" + "234567abcdefghijklmnopqrst"
parts = st.lists(st.text(max_size=4), max_size=4).map(tuple)


class TestContentKeys:
    @given(parts, parts)
    def test_two_tuples_share_a_key_only_if_they_are_equal(self, one, other):
        assert (content_key(*one) == content_key(*other)) == (one == other)

    @given(st.lists(st.text(max_size=6), min_size=1, max_size=3), st.data())
    def test_moving_a_border_between_two_parts_makes_another_key(self, texts, data):
        joined = "".join(texts)
        cuts = data.draw(st.lists(st.integers(0, len(joined)), min_size=2, max_size=2).map(sorted))
        splits = {(joined[:cut], joined[cut:]) for cut in cuts}
        assert len({content_key(*split) for split in splits}) == len(splits)

    def test_an_empty_part_counts(self):
        keys = [content_key(), content_key(""), content_key("", ""), content_key("a"), content_key("a", "")]
        keys.append(content_key("", "a"))
        assert len(set(keys)) == len(keys)

    def test_a_part_can_not_imitate_the_length_of_the_next_one(self):
        imitation = (1).to_bytes(8, "big")
        assert content_key(b"a" + imitation + b"b") != content_key("a", "b")
        assert content_key(b"a" + imitation, "b") != content_key("a", imitation + b"b")

    def test_text_counts_as_its_utf8_bytes(self):
        assert content_key("ünï", "") == content_key("ünï".encode(), b"")
        assert content_key("é") != content_key("e\N{COMBINING ACUTE ACCENT}")

    def test_it_is_sha256_over_length_prefixed_parts_for_ever(self):
        encoding = bytes(7) + b"\x03one" + bytes(7) + b"\x05\xc3\xbcn\xc3\xaf" + bytes(8)
        assert content_key("one", "ünï", "") == hashlib.sha256(encoding).hexdigest()
        assert content_key() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class TestPublicIds:
    def test_the_default_key_gives_the_same_id_in_every_release(self):
        assert public_id(Kind.QUERY, content_key("one")) == "qry_retcq4uqrkwy6ax42gxff4y25k"
        assert public_id(Kind.ETL, content_key("one")) == "etl_retcq4uqrkwy6ax42gxff4y25k"

    @given(st.text(max_size=20), st.sampled_from(Kind), st.binary(min_size=1, max_size=80))
    def test_every_id_is_one_of_its_kind_only(self, text, kind, id_key):
        made = public_id(kind, content_key(text), id_key)
        assert [is_id(made, asked) for asked in Kind] == [asked is kind for asked in Kind]

    def test_another_key_or_content_gives_another_id(self):
        ids = {
            public_id(Kind.QUERY, content_key(text), key)
            for text, key in itertools.product(("one", "two"), (b"key one", b"key two"))
        }
        assert len(ids) == 4

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "qry_",
            QUERY_ID[:-1],
            QUERY_ID + "a",
            QUERY_ID.upper(),
            QUERY_ID.replace("a", "1"),
            QUERY_ID.replace("a", "8"),
            QUERY_ID + "\n",
            " " + QUERY_ID,
            QUERY_ID.removeprefix("qry_"),
            QUERY_ID.replace("a", "\N{CYRILLIC SMALL LETTER A}"),
        ],
    )
    def test_what_is_not_exactly_an_id_is_none(self, text):
        assert not is_id(text, Kind.QUERY)


class TestNames:
    @pytest.mark.parametrize(
        "name", ["a", "_", "Demo_Query-2.final", "a" * 128, "qry", "etl.features", "QRY_x"]
    )
    def test_a_name_within_the_grammar_is_given_back(self, name):
        assert check_name(name, Kind.QUERY) == name

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "1st",
            "-a",
            ".a",
            "a b",
            "a@2",
            "a/b",
            "ünï",
            "a\n",
            "a" * 129,
            "qry_x",
            "etl_x",
            QUERY_ID,
            "a\0",
        ],
    )
    def test_another_name_is_refused_with_the_grammar_and_the_field(self, name):
        with pytest.raises(InvalidArgument) as refused:
            check_name(name, Kind.ETL, "new_name")
        assert refused.value.reason == "BAD_NAME"
        assert refused.value.details["field"] == "new_name"
        assert "letters, digits" in refused.value.message
        assert len(refused.value.details["name"]) <= 80


class TestReferences:
    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            (QUERY_ID, None),
            ("demo", ("demo", None)),
            ("demo@2", ("demo", 2)),
            ("demo@999999999", ("demo", 999_999_999)),
            ("demo.v2-final@10", ("demo.v2-final", 10)),
        ],
    )
    def test_an_id_is_told_from_a_name_with_and_without_a_version(self, text, wanted):
        assert split_reference(text, Kind.QUERY, "query") == wanted

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "MISSING_ID"),
            (ETL_ID, "ID_OF_OTHER_KIND"),
            ("etl_anything", "ID_OF_OTHER_KIND"),
            ("qry_short", "BAD_ID"),
            (QUERY_ID + "a", "BAD_ID"),
            (QUERY_ID + "@2", "BAD_ID"),
            (QUERY_ID.replace("a", "A"), "BAD_ID"),
            ("demo@", "BAD_NAME"),
            ("demo@0", "BAD_NAME"),
            ("demo@02", "BAD_NAME"),
            ("demo@-1", "BAD_NAME"),
            ("demo@1@2", "BAD_NAME"),
            ("demo@1000000000", "BAD_NAME"),
            ("demo@\N{ARABIC-INDIC DIGIT TWO}", "BAD_NAME"),
            ("a" * 129 + "@2", "BAD_NAME"),
            ("demo query", "BAD_NAME"),
            ("demo\n", "BAD_NAME"),
        ],
    )
    def test_anything_else_says_what_is_wrong_with_it_and_names_the_field(self, text, reason):
        with pytest.raises(InvalidArgument) as refused:
            split_reference(text, Kind.QUERY, "query")
        assert (refused.value.reason, refused.value.details["field"]) == (reason, "query")
        assert refused.value.message.startswith("query ")

    def test_a_swapped_pair_is_named_from_either_side(self):
        for text, kind in ((QUERY_ID, Kind.ETL), (ETL_ID, Kind.QUERY)):
            with pytest.raises(InvalidArgument, match="swapped") as refused:
                split_reference(text, kind, "id")
            assert refused.value.reason == "ID_OF_OTHER_KIND"

    @given(st.text(max_size=12))
    def test_any_text_is_an_id_a_name_or_refused_by_name(self, text):
        try:
            split = split_reference(text, Kind.QUERY, "query")
        except InvalidArgument as error:
            split, reason = None, error.reason
        else:
            reason = ""
        if split is None:
            assert reason in {"MISSING_ID", "ID_OF_OTHER_KIND", "BAD_ID", "BAD_NAME"}
        else:
            name, version = split
            assert check_name(name, Kind.QUERY) == name
            assert text == (name if version is None else f"{name}@{version}")
