"""Scripts on disk under the hash of their bytes."""

import asyncio
import hashlib

import pytest

from services.extraction.blob_cache import BlobCache

TEXT = "# ünïcode\r\nx = '\U0001f600'\n"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "made" / "when needed"


@pytest.fixture
def cache(folder):
    return BlobCache(folder)


async def test_a_script_is_kept_under_the_hash_of_its_bytes_and_given_back_exactly(cache, folder):
    sha256 = await cache.put(TEXT)
    assert sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert await cache.get(sha256) == TEXT
    assert await BlobCache(folder).get(sha256) == TEXT
    assert [file.name for file in folder.iterdir()] == [sha256]


async def test_an_unknown_hash_is_none_and_makes_no_folder(cache, folder):
    assert await cache.get("a" * 64) is None
    assert not folder.exists()


@pytest.mark.parametrize(
    "damage", [b"", b"# another script\n", TEXT.encode()[:-1], TEXT.encode() + b"\n", b"\xff"]
)
async def test_a_damaged_file_counts_as_missing_and_the_next_put_makes_it_good(cache, folder, caplog, damage):
    sha256 = await cache.put(TEXT)
    (folder / sha256).write_bytes(damage)
    assert await cache.get(sha256) is None
    assert "is damaged" in caplog.text
    assert await cache.put(TEXT) == sha256
    assert await cache.get(sha256) == TEXT


async def test_a_script_that_was_read_is_served_without_its_file(cache, folder):
    sha256 = await cache.put(TEXT)
    assert await cache.get(sha256) == TEXT
    (folder / sha256).unlink()
    assert await cache.get(sha256) == TEXT
    assert await BlobCache(folder).get(sha256) is None


async def test_what_is_remembered_of_scripts_is_bounded(cache, folder):
    texts = [f"# {number}\n" + "#" * 4 * 2**20 for number in range(5)]
    hashes = [await cache.put(text) for text in texts]
    for sha256 in hashes:
        await cache.get(sha256)
        (folder / sha256).unlink()
    assert [await cache.get(sha256) is not None for sha256 in hashes] == [False, False, True, True, True]


async def test_what_can_not_be_read_counts_as_missing(cache, folder, caplog):
    sha256 = hashlib.sha256(TEXT.encode()).hexdigest()
    (folder / sha256).mkdir(parents=True)
    assert await cache.get(sha256) is None
    assert "can't be read" in caplog.text


async def test_a_put_that_fails_says_so_and_leaves_nothing_behind(cache, folder):
    (folder / hashlib.sha256(TEXT.encode()).hexdigest()).mkdir(parents=True)
    with pytest.raises(OSError):
        await cache.put(TEXT)
    assert [file.name for file in folder.iterdir() if file.name.startswith(".")] == []


@pytest.mark.parametrize(
    "sha256", ["", "../" + "a" * 61, "A" * 64, "a" * 63, "a" * 64 + "\n", "../../etc/passwd"]
)
async def test_what_is_no_hash_never_becomes_a_path(cache, sha256):
    with pytest.raises(ValueError, match="no SHA-256"):
        await cache.get(sha256)


async def test_many_processes_may_put_the_same_script_at_once(folder):
    caches = [BlobCache(folder) for _ in range(16)]
    (sha256,) = set(await asyncio.gather(*(cache.put(TEXT) for cache in caches)))
    assert await asyncio.gather(*(cache.get(sha256) for cache in caches)) == [TEXT] * 16
    assert [file.name for file in folder.iterdir()] == [sha256]
