"""A mark is the same for as long as nobody wrote to the tables, and there is none while somebody does."""

import pytest

from services.realtime.marks import Marks


def test_the_mark_of_tables_stays_until_one_of_them_is_written():
    marks = Marks()
    mark = marks.of(["t", "u"])
    assert marks.of(["t", "u"]) == mark
    with marks.writing(["v"]):
        assert marks.of(["t", "u"]) == mark
    assert marks.of(["t", "u"]) == mark
    with marks.writing(["u"]):
        pass
    assert marks.of(["t", "u"]) not in (mark, None)


def test_there_is_none_while_one_of_the_tables_is_written():
    marks = Marks()
    with marks.writing(["u"]):
        assert marks.of(["t", "u"]) is None
        assert marks.of(["t"]) is not None


def test_a_change_of_definitions_or_indexes_is_one_of_all_tables():
    marks = Marks()
    mark = marks.of(["t"])
    with marks.writing(None):
        assert marks.of(["t"]) is None
    assert marks.of(["t"]) not in (mark, None)


def test_a_mark_does_not_come_back_after_a_write_that_failed():
    marks = Marks()
    mark = marks.of(["t"])
    with pytest.raises(RuntimeError), marks.writing(["t"]):
        raise RuntimeError
    assert marks.of(["t"]) not in (mark, None)
