"""What a source of revisions, an author or a full disk may not do to the gateway that follows it."""

import asyncio
import json
from pathlib import Path

import pytest

from gateway.authorization.bundle import read_bundle
from gateway.authorization.bundle.archive import pack
from gateway.authorization.manifest import Change
from gateway.authorization.policy_set import load_policy_tree
from gateway.config.policy import Requirements
from gateway.errors import ConfigError
from gateway.policy_activation.following import Follower
from gateway.policy_activation.rules import check_requirements
from gateway.policy_activation.sources import FileSource
from gateway.policy_activation.store import History, PolicyStore

REGO = b'package govgateway.authz\n\ndefault decision := {"allow": false, "reasons": ["x"], "obligations": [], "cache_seconds": 0}\n'


@pytest.mark.parametrize(
    ("author", "approver"), [("ada", "ADA"), ("ada", " ada\t"), ("Ada  Byron", "ada byron"), ("ada", ""), ("", "grace")]
)
def test_an_author_is_no_approver_however_the_name_is_spelt(author, approver):
    with pytest.raises(ConfigError):
        check_requirements(Change(author=author, approvers=(approver,)), Requirements(approvers=1))


@pytest.mark.parametrize(
    ("author", "approvers"),
    [
        pytest.param("ada", ("ada\u200b",), id="zero width space"),
        pytest.param("ada", ("\uff41da",), id="full width"),
        pytest.param("jos\u00e9", ("jose\u0301",), id="decomposed"),
        pytest.param("ada", ("\u200b",), id="nobody"),
        pytest.param("ada", ("ada\x00",), id="control character"),
    ],
)
def test_invisible_characters_and_forms_make_no_other_person(author, approvers):
    with pytest.raises(ConfigError):
        check_requirements(Change(author=author, approvers=approvers), Requirements(approvers=1))


def test_a_revision_that_was_refused_for_the_moment_is_tried_again(tmp_path):
    source, tried = tmp_path / "bundle.tar.gz", []
    source.write_bytes(b"a revision")

    async def activate(content: bytes, _source: str) -> None:
        tried.append(content)
        if len(tried) == 1:
            raise ConfigError("Another activation or reload is under way; nothing was changed. Try again.")

    async def follow() -> None:
        follower = Follower(FileSource(source), 1, History, activate)
        with pytest.raises(ConfigError):
            await follower.once()
        await follower.once()

    asyncio.run(follow())
    assert len(tried) == 2


def test_a_bundle_that_is_replaced_while_it_is_read_is_read_the_next_time(tmp_path):
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(b"old")

    class Replaced(type(path)):
        times = 0

        def open(self, *arguments, **options):
            file = super().open(*arguments, **options)
            if Replaced.times == 0:
                (tmp_path / "fresh").write_bytes(b"the next one")
                (tmp_path / "fresh").replace(path)
            Replaced.times += 1
            return file

    source = FileSource(Replaced(path))
    found = [asyncio.run(source.fetch()) for _ in range(2)]
    assert b"the next one" in found


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"x":' + b"[" * 300 + b"]" * 300 + b"}", id="nested"),
        pytest.param(b'{"x":"\\ud83d"}', id="half a character"),
    ],
)
def test_data_without_a_canonical_form_are_refused_like_any_other(data):
    tree = read_bundle(pack({"d.rego": REGO, "data.json": data}), Path("bundle"), None)
    with pytest.raises(ConfigError):
        load_policy_tree(tree)


def test_data_that_are_nested_too_deeply_to_read_are_refused():
    content = pack({"d.rego": REGO, "data.json": b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}"})
    with pytest.raises(ConfigError):
        load_policy_tree(read_bundle(content, Path("bundle"), None))


def test_a_damaged_bundle_is_mended_by_activating_its_revision_anew(tmp_path):
    store = PolicyStore(tmp_path)
    digest = store.put(b"a bundle")
    store.path(digest).write_bytes(b"damaged")
    assert store.put(b"a bundle") == digest
    assert store.get(digest) == b"a bundle"


def test_history_that_was_tampered_with_is_refused_and_not_taken_for_none(tmp_path):
    store = PolicyStore(tmp_path)
    for content in ("", "{", '{"activations": [{}]}', '{"activations": [], "more": 1}', json.dumps([1])):
        (tmp_path / "history.json").write_text(content)
        with pytest.raises(ConfigError):
            store.history()
