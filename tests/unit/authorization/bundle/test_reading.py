"""What is no plain, bounded bundle is refused, whoever signed it: archives that break out, blow up or say two things."""

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.authorization.bundle import BundleError, BundleSigner, archive, read_bundle, sign_bundle, unpacking
from gateway.authorization.bundle.archive import pack
from tests.unit.authorization.bundle.conftest import FILES, SOURCE, Keys, entry, tar_gz

REGO = b"package govgateway.a\n"


def refusal(content: bytes) -> str:
    with pytest.raises(BundleError) as caught:
        read_bundle(content, SOURCE, None)
    return str(caught.value)


def values(files: Mapping[str, bytes]) -> dict[str, object]:
    return {name: text if name.endswith(".rego") else json.loads(text) for name, text in files.items()}


def unzipped(content: bytes) -> bytes:
    return gzip.decompress(content)


@pytest.mark.parametrize("dialect", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_usual_dialects_of_tar_are_read(dialect: int) -> None:
    long = "/".join(["govgateway", *("x" * 60 for _ in range(3)), "a.rego"])
    files = {**FILES, long: REGO}
    assert read_bundle(tar_gz(files.items(), dialect=dialect), SOURCE, None).files == files


@pytest.mark.parametrize("dialect", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_other_scripts_and_of_any_length_are_read(dialect: int) -> None:
    files = {**FILES, "govgateway/rôles/ü.rego": REGO, f"govgateway/{'y' * 200}/{'z' * 200}.rego": REGO}
    assert read_bundle(tar_gz(files.items(), dialect=dialect), SOURCE, None).files == files


@pytest.mark.parametrize("prefix", ["/", "./"])
def test_a_name_with_the_root_in_front_is_the_name_without(prefix: str) -> None:
    entries = [entry("./", tarfile.DIRTYPE), entry("./govgateway", tarfile.DIRTYPE)]
    content = tar_gz([*entries, *((prefix + name, text) for name, text in FILES.items())])
    assert read_bundle(content, SOURCE, None).files == FILES


@pytest.mark.parametrize(
    "name",
    [
        "../a.rego",
        "a/../../b.rego",
        "//etc/x.rego",
        "/../x.rego",
        "a//b.rego",
        "a/./b.rego",
        "././a.rego",
        "..",
        "a/..",
    ],
)
def test_a_path_that_leaves_the_bundle_or_goes_around_is_refused(name: str) -> None:
    assert f"the name {name!r} does not stay below the root" in refusal(tar_gz([(name, REGO)]))


@pytest.mark.parametrize("name", ["a\\b.rego", "C:\\a.rego", "a\nb.rego", "a\x7f.rego"])
def test_backslashes_and_control_characters_are_refused(name: str) -> None:
    assert "holds a backslash or a control character" in refusal(tar_gz([(name, REGO)]))


def test_a_directory_that_leaves_the_bundle_is_refused() -> None:
    assert "does not stay below the root" in refusal(tar_gz([entry("../x", tarfile.DIRTYPE)]))


@pytest.mark.parametrize("second", ["a.rego", "./a.rego", "/a.rego"])
@pytest.mark.parametrize("first", ["a.rego", "./a.rego", "/a.rego"])
def test_a_name_given_twice_in_any_spelling_is_refused(first: str, second: str) -> None:
    assert "a.rego is there twice" in refusal(tar_gz([(first, REGO), (second, b"package b\n")]))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "is a symbolic link"),
        (tarfile.LNKTYPE, "is a hard link"),
        (tarfile.CHRTYPE, "is a device"),
        (tarfile.BLKTYPE, "is a device"),
        (tarfile.FIFOTYPE, "is a pipe"),
        (tarfile.CONTTYPE, "is of the type b'7'"),
        (tarfile.GNUTYPE_SPARSE, "is of the type b'S'"),
    ],
)
def test_what_is_no_file_is_refused(kind: bytes, said: str) -> None:
    assert said in refusal(tar_gz([entry("govgateway/a.rego", kind, "/etc/passwd")]))


def test_a_name_that_is_not_utf_8_is_refused() -> None:
    name = b"a\xff.rego".decode("utf-8", "surrogateescape")
    assert "is not UTF-8" in refusal(tar_gz([(name, REGO)], dialect=tarfile.GNU_FORMAT))


@pytest.mark.parametrize(
    "headers", [{"size": "1"}, {"linkpath": "x"}, {"GNU.sparse.major": "1"}, {"hdrcharset": "BINARY"}]
)
def test_extended_headers_that_change_a_file_are_refused(headers: dict[str, str]) -> None:
    info = tarfile.TarInfo("a.rego")
    info.pax_headers = headers
    assert f"an extended header gives {next(iter(headers))!r}" in refusal(tar_gz([info], dialect=tarfile.PAX_FORMAT))


def test_one_header_that_names_all_files_is_refused() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT, pax_headers={"path": "a.rego"}) as written:
        written.addfile(tarfile.TarInfo("b.rego"))
    assert "one extended header names all files" in refusal(out.getvalue())


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content + b"\x00",
        lambda content: content + b"more",
        lambda content: content + gzip.compress(b""),
        lambda content: content + content,
    ],
)
def test_anything_behind_the_gzip_stream_is_refused(change: object) -> None:
    assert "behind the end of the gzip stream" in refusal(change(tar_gz(FILES.items())))  # type: ignore[operator]


def test_anything_behind_the_tar_archive_is_refused() -> None:
    hidden = unzipped(tar_gz(FILES.items())) + unzipped(tar_gz([("b.rego", REGO)]))
    assert "behind the end of the tar archive" in refusal(gzip.compress(hidden))


def test_padding_that_holds_something_is_refused() -> None:
    plain = bytearray(unzipped(tar_gz([("govgateway/a.rego", REGO)])))
    plain[512 + len(REGO)] = 1
    assert "the padding behind govgateway/a.rego is not empty" in refusal(gzip.compress(bytes(plain)))


@pytest.mark.parametrize("position", [0, 100, 124, 150, 156, 257, 345])
def test_a_damaged_header_is_refused_not_the_end(position: int) -> None:
    first = unzipped(tar_gz([("govgateway/a.rego", REGO)]))[:1024]
    second = bytearray(unzipped(tar_gz([("govgateway/b.rego", REGO)])))
    second[position] ^= 1
    assert "a tar header is damaged" in refusal(gzip.compress(first + bytes(second)))


def headers(*blocks: tuple[bytes, bytes]) -> bytes:
    """Write headers of these types with their contents, then the end."""
    parts = []
    for kind, content in blocks:
        info = entry("a.rego", kind)
        info.size = len(content)
        parts += [info.tobuf(tarfile.USTAR_FORMAT), content, bytes(-len(content) % 512)]
    return gzip.compress(b"".join([*parts, bytes(1024)]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (headers((b"5", b"hidden")), "has a content"),
        (headers((b"L", b"b.rego\x00"), (b"L", b"c.rego\x00"), (b"0", REGO)), "in an unexpected place"),
        (headers((b"0", REGO), (b"g", b"13 comment=x\n"), (b"0", REGO)), "in an unexpected place"),
        (headers((b"x", b"15 path=b.rego\n")), "does not end as a tar archive does"),
        (headers((b"x", b"14 path=b.rego\n"), (b"0", REGO)), "an extended header is damaged"),
        (headers((b"x", b"path=b.rego\n"), (b"0", REGO)), "an extended header is damaged"),
        (headers((b"x", b"99999 path=b\n"), (b"0", REGO)), "an extended header is damaged"),
        (headers((b"x", bytes(20_000)), (b"0", REGO)), "at most 16384 are read"),
        (headers((b"K", b"b\x00"), (b"0", REGO)), "is of the type b'K'"),
        (headers((b"L", b"x" * 2000 + b"\x00"), (b"0", REGO)), "has more than 1024 bytes"),
    ],
)
def test_headers_that_stand_wrong_or_say_too_much_are_refused(content: bytes, said: str) -> None:
    assert said in refusal(content)


def test_a_harmless_extended_header_is_passed_over() -> None:
    content = headers((b"g", b"13 comment=x\n"), (b"x", b"17 mtime=1.25000\n"), (b"0", REGO))
    assert read_bundle(content, SOURCE, None).files == {"a.rego": REGO}


def test_a_header_of_an_unknown_dialect_or_with_a_binary_size_is_refused() -> None:
    for start, value, said in ((257, b"dialect!", "of an unknown dialect"), (124, b"\x80" + bytes(11), "no octal")):
        block = bytearray(tarfile.TarInfo("a.rego").tobuf(tarfile.USTAR_FORMAT))
        block[start : start + len(value)] = value
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\x00 " % sum(block)
        assert said in refusal(gzip.compress(bytes(block) + bytes(1024)))


def test_an_archive_that_is_cut_off_is_refused_wherever() -> None:
    plain = unzipped(pack(FILES))
    for end in range(0, len(plain), 64):
        refusal(gzip.compress(plain[:end]))
    packed = pack(FILES)
    for end in range(0, len(packed), 7):
        refusal(packed[:end])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x1f\x8b", zlib.compress(b"x"), gzip.compress(b"")])
def test_what_is_no_gzipped_tar_is_refused(content: bytes) -> None:
    assert str(SOURCE) in refusal(content)


def bomb(size: int) -> bytes:
    """A header that promises `size` bytes, and zeros for ever."""
    info = tarfile.TarInfo("govgateway/data.json")
    info.size = size
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [deflate.compress(info.tobuf(tarfile.GNU_FORMAT))]
    parts += [deflate.compress(bytes(1 << 20)) for _ in range(300)]
    return b"".join([*parts, deflate.flush()])


def test_a_bomb_ends_at_the_bound_of_a_file() -> None:
    assert "at most 67108864 are read" in refusal(bomb(300 << 20))


def test_a_bomb_of_many_files_ends_at_the_bound_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_UNPACKED_BYTES", 1 << 20)
    files = [(f"govgateway/{number}.rego", bytes(100_000)) for number in range(100)]
    assert "it unpacks to more than 1048576 bytes" in refusal(tar_gz(files))


def test_a_bomb_behind_the_archive_ends_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_UNPACKED_BYTES", 1 << 20)
    content = gzip.compress(unzipped(tar_gz(FILES.items())) + bytes(1 << 22))
    assert "it unpacks to more than 1048576 bytes" in refusal(content)


def test_no_more_is_inflated_than_the_bound_and_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    inflated = 0
    real = zlib.decompressobj

    class Counting:
        def __init__(self, *arguments: int) -> None:
            self._inner = real(*arguments)

        def decompress(self, data: bytes, bound: int) -> bytes:
            nonlocal inflated
            out = self._inner.decompress(data, bound)
            inflated += len(out)
            return out

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

    monkeypatch.setattr(unpacking.zlib, "decompressobj", Counting)
    monkeypatch.setattr(unpacking, "MAX_UNPACKED_BYTES", 1 << 20)
    refusal(bomb(60 << 20))
    assert 0 < inflated <= (1 << 20) + (64 << 10)


def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_ENTRIES", 10)
    content = tar_gz([entry(f"d{number}", tarfile.DIRTYPE) for number in range(11)])
    assert "it has more than 10 entries" in refusal(content)


def test_a_bundle_too_large_to_look_at_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_PACKED_BYTES", 100)
    assert "at most 100 are read" in refusal(pack(FILES))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("patch.json", "a delta bundle"),
        ("govgateway/patch.json", "a delta bundle"),
        ("policy.wasm", "WebAssembly"),
        ("plan.json", "evaluation plan"),
        (".manifest.pb", "as JSON only"),
        ("govgateway/.manifest", "one manifest"),
        ("govgateway/x.manifest", "one manifest"),
        ("govgateway/.signatures.json", "one signature"),
        (".hidden", "begin with a dot"),
        (".git/config", "begin with a dot"),
        ("govgateway/.a/b.rego", "begin with a dot"),
    ],
)
def test_files_that_mean_something_else_to_opa_are_refused(name: str, said: str) -> None:
    refused = refusal(pack({**FILES, name: b"{}"}))
    assert name in refused
    assert said in refused


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("data.json", b'{"other": 1}', "data.other"),
        ("data.json", b'{"govgateway": {}, "other": {}}', "data.other"),
        ("data.json", b'{"govgateway": 1, "gov": {"x": 1}}', "data.gov"),
        ("other/data.json", b"{}", "data.other"),
        ("govgatewayx/data.yaml", b"a: b", "data.govgatewayx"),
        ("data.json", b'{"system": {"x": {}}}', "data.system"),
    ],
)
def test_data_outside_of_the_roots_are_refused(name: str, content: bytes, place: str) -> None:
    refused = refusal(pack({**FILES, name: content}))
    assert f"{name} gives {place}, outside of the manifest's roots (govgateway)" in refused


def test_data_within_deeper_roots_are_read() -> None:
    manifest = b'{"roots": ["a/b", "/c/"]}'
    files = {".manifest": manifest, "data.json": b'{"a": {"b": 1}, "c": {"d": [1]}}', "a/b/x.rego": b"package a.b.x\n"}
    assert read_bundle(pack(files), SOURCE, None).files == files
    assert "data.a.x" in refusal(pack({**files, "data.json": b'{"a": {"b": 1, "x": 1}}'}))


def test_roots_that_overlap_are_refused() -> None:
    for roots in (b'["a", "a/b"]', b'["a", "a"]', b'["", "a"]', b'["a/b", "ab", "a"]'):
        assert "overlap" in refusal(pack({".manifest": b'{"roots": ' + roots + b"}"}))


@pytest.mark.parametrize("content", [b'{"a": 1, "a": 2}', b"[", b"\xff", b'{"a": NaN}', b"[" * 100_000])
def test_data_that_say_two_things_or_none_are_refused(content: bytes) -> None:
    assert "govgateway/data.json is not strict JSON" in refusal(pack({**FILES, "govgateway/data.json": content}))


def test_errors_name_the_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"The bundle {tmp_path / 'x'} is refused: .*manifest"):
        read_bundle(pack({".manifest": b"[]"}), tmp_path / "x", None)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=4))
@example([(0, 0)])
def test_a_changed_byte_changes_nothing_or_is_refused(keys: Keys, changes: list[tuple[int, int]]) -> None:
    plain = bytearray(unzipped(sign_bundle(pack(FILES), BundleSigner(keys.private, keys.id))))
    for position, value in changes:
        plain[position % len(plain)] = value
    try:
        tree = read_bundle(gzip.compress(bytes(plain), 1), SOURCE, keys.verifier)
    except BundleError:
        return
    assert values(tree.files) == values(FILES)


def test_pack_does_not_write_what_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("MAX_ENTRIES", "MAX_FILE_BYTES", "MAX_UNPACKED_BYTES", "MAX_PACKED_BYTES"):
        with monkeypatch.context() as patch, pytest.raises(BundleError):
            patch.setattr(archive, bound, 2)
            pack(FILES)
