"""Constant databases: ours and tinycdb's of the same records are the same file; damaged ones do no harm."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qserver.base.cdb import BATCH, FLUSH, HEADER_SIZE, WIDEST, Cdb, CdbWriter, hash_of, packed_hashes, write_cdb
from tests.support import peer

Records = list[tuple[bytes, bytes]]
KEYS = st.one_of(st.binary(max_size=6), st.sampled_from([b"", b"a", b"b", b"key", b"1.2.3."]), st.binary(max_size=100))
RECORDS = st.lists(st.tuples(KEYS, st.binary(max_size=40)), max_size=60)
SAMPLE: Records = [(b"%d" % number, b"data %d" % number) for number in range(40)] + [(b"7", b"second"), (b"", b"")]


def written(records: Records) -> bytes:
    """The file that our writer makes of these records."""
    with tempfile.TemporaryFile() as file:
        writer = CdbWriter(file.fileno())
        for key, data in records:
            writer.add(key, data)
        writer.finish()
        file.seek(0)
        return file.read()


def tinycdb(records: Records, directory: Path) -> bytes:
    """The file that tinycdb makes of them."""
    text = b"".join(b"+%d,%d:%b->%b\n" % (len(key), len(data), key, data) for key, data in records) + b"\n"
    program = peer("cdb")
    subprocess.run([program, "-c", "-t", directory / "tmp", directory / "cdb"], input=text, check=True, timeout=20)
    return (directory / "cdb").read_bytes()


def test_an_empty_database_is_its_header() -> None:
    assert written([]) == struct.pack("<512I", *(HEADER_SIZE, 0) * 256)


def test_hash() -> None:
    assert hash_of(b"") == 5381
    assert hash_of(b"one") == (((5381 * 33 ^ 0x6F) * 33 ^ 0x6E) * 33 ^ 0x65) & 0xFFFFFFFF
    assert hash_of(b"world", hash_of(b"hello ")) == hash_of(b"hello world")


@given(st.lists(st.binary(max_size=WIDEST + 2), min_size=1, max_size=40))
def test_hashing_many_keys_at_once(keys: list[bytes]) -> None:
    assert packed_hashes(keys) == struct.pack(f"<{len(keys)}I", *map(hash_of, keys))


@settings(max_examples=100, deadline=None)
@given(RECORDS)
def test_reader_and_writer_agree(records: Records) -> None:
    cdb = Cdb(written(records))
    assert list(cdb.records()) == records
    assert sorted(cdb.hashes()) == sorted(hash_of(key) for key, _ in records)
    for key in {key for key, _ in records} | {b"absent", b"a\0"}:
        expected = [data for known, data in records if known == key]
        assert list(cdb.get_all(key)) == expected
        assert cdb.get(key) == (expected[0] if expected else None)
        assert cdb.find(key, hash_of(key)) == cdb.get(key)


@settings(max_examples=40, deadline=None)
@given(RECORDS)
def test_the_same_file_as_tinycdb(records: Records) -> None:
    with tempfile.TemporaryDirectory() as directory:
        assert written(records) == tinycdb(records, Path(directory))


@pytest.mark.parametrize(
    "records",
    [
        [(b"%d" % number, b"") for number in range(3 * BATCH + 1)],
        [(b"k%d" % number, bytes(FLUSH // 3)) for number in range(7)],
        [(bytes(WIDEST + 1), b"wide"), *SAMPLE],
        [(b"same", b"%d" % number) for number in range(1000)],
    ],
    ids=["several batches", "large data", "a long key", "one key"],
)
def test_the_same_file_as_tinycdb_at_the_edges(tmp_path: Path, records: Records) -> None:
    assert written(records) == tinycdb(records, tmp_path)


def test_adding_many_at_once_is_adding_one_by_one(tmp_path: Path) -> None:
    records = [(b"%d" % number, b"x" * (number % 50)) for number in range(BATCH * 2 + 5)]
    with (tmp_path / "cdb").open("w+b") as file:
        writer = CdbWriter(file.fileno())
        writer.add(*records[0])
        writer.extend([key for key, _ in records[1:]], [data for _, data in records[1:]])
        writer.finish()
    assert (tmp_path / "cdb").read_bytes() == written(records)


def test_tinycdb_finds_what_we_wrote(tmp_path: Path) -> None:
    write_cdb(str(tmp_path / "cdb"), str(tmp_path / "tmp"), SAMPLE)
    for skip, data in (("1", b"data 7"), ("2", b"second")):
        argv = [peer("cdb"), "-q", "-n", skip, str(tmp_path / "cdb"), "7"]
        assert subprocess.run(argv, capture_output=True, check=True, timeout=20).stdout == data


def test_write_replaces_the_file(tmp_path: Path) -> None:
    path, temporary = str(tmp_path / "cdb"), str(tmp_path / "tmp")
    write_cdb(path, temporary, [(b"old", b"1")])
    with Cdb.open(path) as before:
        write_cdb(path, temporary, [(b"new", b"2")])
        with Cdb.open(path) as after:
            assert (before.get(b"old"), after.get(b"old"), after.get(b"new")) == (b"1", None, b"2")
    assert not os.path.exists(temporary)


def test_a_writer_that_cannot_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = str(tmp_path / "cdb")
    write_cdb(path, str(tmp_path / "tmp"), [(b"old", b"1")])
    with pytest.raises(FileNotFoundError):
        write_cdb(path, str(tmp_path / "no" / "tmp"), [])
    with Cdb.open(path) as cdb:
        assert cdb.get(b"old") == b"1"


@pytest.mark.parametrize(
    ("name", "expected"), [("absent", errno.ENOENT), (".", errno.EISDIR), ("/dev/null", errno.EPROTO), ("short", errno.EPROTO)]
)
def test_what_is_no_database(tmp_path: Path, name: str, expected: int) -> None:
    (tmp_path / "short").write_bytes(bytes(HEADER_SIZE - 1))
    with pytest.raises(OSError) as caught:
        Cdb.open(str(tmp_path / name))
    assert caught.value.errno == expected


def test_from_fd_leaves_the_descriptor_open(tmp_path: Path) -> None:
    write_cdb(str(tmp_path / "cdb"), str(tmp_path / "tmp"), SAMPLE)
    with (tmp_path / "cdb").open("rb") as file:
        file.seek(5)
        with Cdb.from_fd(file.fileno()) as cdb:
            assert cdb.get(b"7") == b"data 7"
        assert os.fstat(file.fileno()).st_size > 0


def exercise(data: bytes) -> None:
    """Ask everything of a damaged file: only answers and OSError are allowed, and no answer larger than the file."""
    try:
        cdb = Cdb(data)
    except OSError:
        assert len(data) < HEADER_SIZE
        return
    for key, _ in SAMPLE:
        for question in (cdb.get, lambda key: list(cdb.get_all(key))):
            try:
                question(key)
            except OSError as error:
                assert error.errno == errno.EPROTO
    for enumeration in (cdb.records, cdb.hashes):
        try:
            assert len(list(enumeration())) <= len(data)
        except OSError as error:
            assert error.errno == errno.EPROTO


def test_contents_shorter_than_a_header_are_no_database() -> None:
    for size in range(HEADER_SIZE):
        with pytest.raises(OSError):
            Cdb(bytes(size))


def test_every_truncation_is_survived() -> None:
    whole = written(SAMPLE)
    for size in range(HEADER_SIZE, len(whole)):
        exercise(whole[:size])


def test_every_flipped_octet_of_the_header_is_survived() -> None:
    whole = written(SAMPLE)
    for at in range(HEADER_SIZE):
        exercise(whole[:at] + bytes((whole[at] ^ 0xFF,)) + whole[at + 1 :])


def test_every_flipped_octet_after_the_header_is_survived() -> None:
    whole = written(SAMPLE)
    for at in range(HEADER_SIZE, len(whole)):
        exercise(whole[:at] + bytes((whole[at] ^ 0xFF,)) + whole[at + 1 :])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.sampled_from([0, 1, 8, 2048, 0x7FFFFFFF, 0xFFFFFFFF])), max_size=6))
def test_any_wrong_number_is_survived(changes: list[tuple[int, int]]) -> None:
    whole = bytearray(written(SAMPLE))
    for at, number in changes:
        struct.pack_into("<I", whole, at % (len(whole) - 4), number)
    exercise(bytes(whole))


def test_a_full_table_without_the_key_ends_the_search() -> None:
    h = hash_of(b"absent")
    header = [HEADER_SIZE, 0] * 256
    header[(h & 255) * 2 : (h & 255) * 2 + 2] = [HEADER_SIZE, 3]
    data = struct.pack("<512I", *header) + struct.pack("<II", h, HEADER_SIZE) * 3
    assert Cdb(data).get(b"absent") is None
