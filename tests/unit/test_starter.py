"""The starter policies and what `govctl init` changes in its copy of them."""

import shutil

import yaml

from gateway.authorization.policy_set import load_policy_set
from gateway.starter import allow_models, register_models, starter_policies


def roles(directory):
    return yaml.safe_load((directory / "govgateway" / "roles" / "data.yaml").read_text())


def test_the_starter_policies_load():
    assert load_policy_set(starter_policies()).system("assistant") is not None


def test_granting_a_model_keeps_every_comment_and_every_other_role(tmp_path):
    copy = tmp_path / "policies"
    shutil.copytree(starter_policies(), copy)
    before_text = (copy / "govgateway" / "roles" / "data.yaml").read_text()
    before = roles(copy)
    allow_models(copy, ["meta-llama/Llama-3.1:8b"])
    after = roles(copy)
    assert after["chat-user"]["permissions"][0]["resources"] == [
        *before["chat-user"]["permissions"][0]["resources"],
        "meta-llama/Llama-3.1:8b",
    ]
    after["chat-user"] = before["chat-user"]
    assert after == before
    after_text = (copy / "govgateway" / "roles" / "data.yaml").read_text()
    assert [line for line in after_text.splitlines() if line.startswith("#")] == [
        line for line in before_text.splitlines() if line.startswith("#")
    ]
    load_policy_set(copy)


def test_a_model_that_is_granted_already_changes_nothing(tmp_path):
    copy = tmp_path / "policies"
    shutil.copytree(starter_policies(), copy)
    before = (copy / "govgateway" / "roles" / "data.yaml").read_text()
    allow_models(copy, ["example-chat"])
    assert (copy / "govgateway" / "roles" / "data.yaml").read_text() == before


def test_models_are_listed_in_the_register_with_their_system_and_comments_stay(tmp_path):
    copy = tmp_path / "policies"
    shutil.copytree(starter_policies(), copy)
    path = copy / "govgateway" / "systems" / "data.yaml"
    before = path.read_text()
    register_models(copy, [("meta-llama/Llama-3.1:8b", "assistant"), ("b", "hiring"), ("c", "unheard-of")])
    listed = yaml.safe_load(path.read_text())
    assert list(listed["assistant"]["models"]) == ["meta-llama/Llama-3.1:8b"]
    assert list(listed["hiring"]["models"]) == ["b"]
    assert {**listed["assistant"], "models": None} == {**yaml.safe_load(before)["assistant"], "models": None}
    assert [line for line in path.read_text().splitlines() if line.startswith("#")] == [
        line for line in before.splitlines() if line.startswith("#")
    ]
    load_policy_set(copy)
