"""A directory becomes the same bundle whenever and wherever it is built, and comes back as the same policies."""

import gzip
import json
import os
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authorization.bundle import BundleError, BundleSigner, read_bundle, write_bundle
from gateway.authorization.bundle.archive import pack
from gateway.authorization.bundle.unpacking import unpack
from gateway.authorization.manifest import Change, Manifest, parse_manifest
from gateway.authorization.policy_set import load_policy_set, load_policy_tree
from gateway.authorization.policy_tree import PolicyTree, read_policy_tree
from gateway.errors import ConfigError
from tests.unit.authorization.bundle.conftest import SOURCE, Keys

MANIFEST = Manifest("r1", ("govgateway",), Change(serial=7, author="ann", approvers=("bob",), impact={"a": 1}))
REGO = b"package govgateway.a\n\nx := 1\n"


def test_a_bundle_comes_back_as_the_same_policies(starter_directory: Path, keys: Keys) -> None:
    signer = BundleSigner(keys.private, keys.id)
    content = write_bundle(read_policy_tree(starter_directory), MANIFEST, signer)
    read, straight = load_policy_tree(read_bundle(content, SOURCE, keys.verifier)), load_policy_set(starter_directory)
    assert read.modules == straight.modules
    assert read.data_digest == straight.data_digest
    assert read.revision == "r1"
    assert read.manifest == MANIFEST
    assert read.tests == ()


def test_the_data_are_one_file_whose_digest_the_records_name(starter_directory: Path) -> None:
    files = unpack(write_bundle(read_policy_tree(starter_directory), MANIFEST))
    assert sha256(files["data.json"]).hexdigest() == load_policy_set(starter_directory).data_digest
    assert not [name for name in files if name not in {".manifest", "data.json"} and not name.endswith(".rego")]


def test_tests_are_bundled_when_asked_for(starter_directory: Path) -> None:
    tree = read_policy_tree(starter_directory)
    with_tests, without = unpack(write_bundle(tree, MANIFEST, tests=True)), unpack(write_bundle(tree, MANIFEST))
    assert set(with_tests) - set(without) == {name for name in tree.files if name.endswith("_test.rego")}


def test_neither_times_modes_nor_order_matter(tmp_path: Path, keys: Keys) -> None:
    names = ["b.rego", "a.rego", "z/data.yaml", "c.rego"]
    built = []
    for number, order in enumerate((names, names[::-1])):
        directory = tmp_path / str(number) / "policies"
        for name in order:
            path = directory / "govgateway" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(REGO if name.endswith(".rego") else b"k: v\n")
            path.chmod(0o600 if number else 0o640)
            os.utime(path, (number, number))
        (directory / "README.md").write_text(str(number))
        built.append(write_bundle(read_policy_tree(directory), MANIFEST, BundleSigner(keys.private, keys.id)))
    assert built[0] == built[1]


@given(st.data())
def test_the_order_of_files_changes_no_byte(data: st.DataObject) -> None:
    part = st.text(
        st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="/\\."), min_size=1, max_size=9
    )
    names = data.draw(st.lists(part, unique=True, min_size=1, max_size=8))
    files = {f"{name}-x.rego": data.draw(st.sampled_from([REGO, b"package govgateway.b\n"])) for name in names}
    shuffled = dict(data.draw(st.permutations(list(files.items()))))
    first, second = (write_bundle(PolicyTree(SOURCE, each), MANIFEST) for each in (files, shuffled))
    assert first == second
    assert {name: text for name, text in unpack(first).items() if name.endswith(".rego")} == files


def test_nothing_of_the_machine_is_in_the_archive(starter_directory: Path) -> None:
    content = write_bundle(read_policy_tree(starter_directory), MANIFEST)
    assert content[4:8] == bytes(4), "the time in the gzip header"
    assert content[3] == 0, "no name, no comment in the gzip header"
    assert content[9] == 255, "no platform in the gzip header"
    plain = gzip.decompress(content)
    header = plain[:512]
    assert header[:9] == b".manifest"
    assert header[100:108] == b"0000644\x00"
    assert header[136:148] == b"00000000000\x00"
    assert header[265:329] == bytes(64), "user and group"


def test_yaml_is_bundled_as_the_values_that_the_gateway_reads() -> None:
    files = {"govgateway/a.rego": REGO, "govgateway/z/data.yaml": b"a: yes\nb: 0x10\nc: 1e3\nd: 1:30\n"}
    data = json.loads(unpack(write_bundle(PolicyTree(SOURCE, files), MANIFEST))["data.json"])
    assert data == {"govgateway": {"z": {"a": True, "b": 16, "c": "1e3", "d": 90}}}


def test_data_outside_of_the_roots_are_not_bundled() -> None:
    tree = PolicyTree(SOURCE, {"govgateway/a.rego": REGO, "other/data.yaml": b"a: b\n"})
    with pytest.raises(BundleError, match=r"data\.other is outside"):
        write_bundle(tree, MANIFEST)
    assert write_bundle(tree, Manifest("r1"))


def test_policies_without_data_are_bundled() -> None:
    content = write_bundle(PolicyTree(SOURCE, {"govgateway/a.rego": REGO}), MANIFEST)
    assert read_bundle(content, SOURCE, None).files["data.json"] == b"{}"


@pytest.mark.parametrize("name", ["a\\b.rego", "../a.rego", "/a.rego", "./a.rego", "a\n.rego", "x" * 1020 + ".rego"])
def test_a_name_that_no_bundle_may_hold_is_not_written(name: str) -> None:
    with pytest.raises(ConfigError):
        write_bundle(PolicyTree(SOURCE, {name: REGO}), MANIFEST)


def test_data_without_a_canonical_form_are_not_written() -> None:
    files = {"a.rego": REGO, "data.yaml": b'a: "\\ud800"\n'}
    with pytest.raises(BundleError, match="no canonical form"):
        write_bundle(PolicyTree(SOURCE, files), Manifest())


def test_broken_data_are_not_written() -> None:
    with pytest.raises(ConfigError, match="given twice"):
        write_bundle(PolicyTree(SOURCE, {"a.rego": REGO, "data.yaml": b"a: 1\na: 2\n"}), Manifest())


@given(
    st.dictionaries(
        st.text(
            st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="/\\."), min_size=1, max_size=250
        ),
        st.binary(max_size=2000),
        max_size=5,
    )
)
def test_what_is_packed_is_unpacked(files: dict[str, bytes]) -> None:
    assert unpack(pack(files)) == files


def test_the_manifest_is_written_as_it_is_read(starter_directory: Path) -> None:
    files = unpack(write_bundle(read_policy_tree(starter_directory), MANIFEST))
    assert parse_manifest(files[".manifest"], SOURCE) == MANIFEST
