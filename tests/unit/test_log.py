"""The log: in order, durable, honest about what it holds."""

import sqlite3

import pytest

from featurestore.model.errors import FailedPrecondition
from services.realtime.folder_lock import FolderLock
from services.realtime.log import FILE_NAME, AppendFailedError, Log, LogReader, Receipt, Record


def record(name, body=b"body"):
    return Record(name, f"digest of {name}", 1, body)


def read_all(folder, after=0, max_bytes=2**20):
    reader = LogReader(folder)
    try:
        return [(each.sequence, each.publish_id, each.body) for each in reader.read_after(after, max_bytes)]
    finally:
        reader.close()


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path)
    yield log
    log.close()


def test_a_log_keeps_its_id_and_frames_over_a_restart(tmp_path, log):
    log.append([record("a"), record("b")])
    log.close()

    again = Log(tmp_path)

    assert (again.log_id, again.last_sequence) == (log.log_id, 2)
    assert read_all(tmp_path) == [(1, "a", b"body"), (2, "b", b"body")]
    again.close()


def test_two_logs_have_two_ids(tmp_path):
    ids = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        log = Log(tmp_path / name)
        ids.add(log.log_id)
        log.close()
    assert len(ids) == 2


def test_publishes_are_found_by_their_ids(log):
    log.append([record("a"), record("b")])
    assert log.find(["c", "b"]) == {"b": Receipt(2, "digest of b", 1)}
    assert log.find([]) == {}


def test_every_commit_is_synced(log):
    # 2 is FULL; NORMAL would lose acknowledged frames of a WAL when the power goes.
    assert log._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert log._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_group_with_a_known_id_is_refused_as_a_whole_and_the_log_goes_on(tmp_path, log):
    log.append([record("a")])
    with pytest.raises(AppendFailedError) as caught:
        log.append([record("b"), record("a")])
    assert caught.value.certain
    log.append([record("c")])
    assert [name for _, name, _ in read_all(tmp_path)] == ["a", "c"]


def test_frames_are_read_in_bounded_pieces_and_at_least_one(tmp_path, log):
    log.append([record(str(n), bytes(100)) for n in range(10)])
    assert [n for n, _, _ in read_all(tmp_path, 0, 250)] == [1, 2, 3]
    assert [n for n, _, _ in read_all(tmp_path, 3, 1)] == [4]
    assert read_all(tmp_path, 10) == []


def test_a_reader_sees_what_is_appended_after_it_was_opened(tmp_path, log):
    reader = LogReader(tmp_path)
    assert (reader.read_after(0, 1), reader.last_sequence()) == ([], 0)
    log.append([record("a")])
    assert [each.sequence for each in reader.read_after(0, 1)] == [1]
    assert reader.last_sequence() == 1
    reader.close()


def test_a_full_disk_is_a_certain_failure_that_leaves_the_log_as_it_was(tmp_path, log):
    log.append([record("a")])
    pages = log._connection.execute("PRAGMA page_count").fetchone()[0]
    log._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(AppendFailedError) as caught:
        log.append([record("b", bytes(10**6))])
    assert caught.value.certain
    assert [name for _, name, _ in read_all(tmp_path)] == ["a"]


def test_a_damaged_frame_is_detected_and_named(tmp_path, log):
    log.append([record("a"), record("b")])
    log.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE frames SET body = x'00' WHERE sequence = 2")
    connection.close()
    with pytest.raises(FailedPrecondition, match="frame 2") as caught:
        read_all(tmp_path)
    assert caught.value.reason == "LOG_DAMAGED"


def test_a_log_of_a_newer_format_is_refused(tmp_path, log):
    log.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(FailedPrecondition, match="99") as caught:
        Log(tmp_path)
    assert caught.value.reason == "FORMAT"


def test_a_second_owner_of_a_folder_is_refused_until_the_first_lets_go(tmp_path):
    lock = FolderLock(tmp_path)
    with pytest.raises(FailedPrecondition, match="process") as caught:
        FolderLock(tmp_path)
    assert caught.value.reason == "STORE_LOCKED"
    lock.release()
    FolderLock(tmp_path).release()
