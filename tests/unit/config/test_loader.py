"""Loading the configuration: strictness, references and messages a person can act on."""

from pathlib import Path

import pytest

from gateway.config import config_schema, load_config, show_config
from gateway.errors import ConfigError

MINIMAL = """
trust_domain: example.org
backends: [{name: a, url: "http://127.0.0.1:8000/v1"}]
models: [{name: m, backends: [a]}]
"""


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str) -> Path:
        path = tmp_path / "govgateway.yaml"
        path.write_text(text)
        return path

    return _write


def refusal(path: Path, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, environment or {})
    return str(caught.value)


def test_a_minimal_file_loads_and_paths_are_relative_to_it(write, tmp_path):
    config = load_config(write(MINIMAL))
    assert config.trust_domain == "example.org"
    assert config.state_dir == tmp_path / "state"
    assert config.policy.directory == tmp_path / "policies"
    assert config.identity.seal_key == f"file:{tmp_path / 'seal.key'}"
    assert config.listener.limits.header_bytes == 32_768


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("lisener: {}", "lisener", "'listener'"),
        ("listener: {limits: {header_byte: 1}}", "listener.limits.header_byte", "'header_bytes'"),
        ("listener: {xyz: 1}", "listener.xyz", "known keys here: address, drain_seconds, limits, port, workers"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(write, text, place, hint):
    message = refusal(write(MINIMAL + text))
    assert f"{place}: unknown key" in message
    assert hint in message


def test_an_unknown_key_in_a_list_names_the_nearest_key_of_the_item(write):
    message = refusal(write(MINIMAL.replace("url:", "urll: x, url:")))
    assert "backends.0.urll: unknown key; did you mean 'url'?" in message


def test_every_problem_is_listed_at_once(write):
    message = refusal(write("trust_domain: Bad Domain\nlistener: {port: 70000}\n"))
    assert "4 problems" in message
    for place in ("trust_domain:", "listener.port:", "backends: this key is required", "models: this key is required"):
        assert place in message


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("a: 1\na: 2", ":2:1: the key 'a' is given twice"),
        ("a: &x 1\nb: *x", "aliases"),
        ("a: !!python/object:os.system {}", "could not determine a constructor"),
        ("a: [1", "expected"),
        ("- 1", "is a mapping of sections"),
        ("1: x", "is not text"),
    ],
)
def test_yaml_that_could_surprise_is_refused_with_its_place(write, text, cause):
    assert cause in refusal(write(text))


def test_a_missing_file_is_named(tmp_path):
    assert "nowhere.yaml does not exist" in refusal(tmp_path / "nowhere.yaml")


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"a: \xff")
    assert "is not UTF-8" in refusal(path)


def test_environment_variables_are_expanded_with_defaults(write):
    config = load_config(
        write(MINIMAL + "context: {region: '${REGION}', environment: '${ENVIRONMENT:-test}'}"), {"REGION": "eu"}
    )
    assert (config.context.region, config.context.environment) == ("eu", "test")


def test_a_variable_that_is_not_set_is_refused_by_name(write):
    assert "the environment variable REGION is not set" in refusal(write(MINIMAL + "context: {region: '${REGION}'}"))


def test_a_secret_in_the_file_is_refused(write):
    message = refusal(write(MINIMAL.replace('/v1"', '/v1", credential: hunter2-hunter2')))
    assert "a secret is given by reference" in message


def test_a_secret_from_the_environment_stays_a_reference_everywhere_it_is_shown(write):
    config = load_config(write(MINIMAL.replace('/v1"', '/v1", credential: "${KEY}"')), {"KEY": "canary-value"})
    assert config.backends[0].credential == "env:KEY"
    assert "canary-value" not in str(show_config(config)) + repr(config)


def test_plain_http_to_another_machine_needs_the_unsafe_option(write):
    remote = MINIMAL.replace("127.0.0.1", "models.example.org")
    assert "unsafe_plaintext" in refusal(write(remote))
    config = load_config(write(remote.replace('/v1"', '/v1", unsafe_plaintext: true')))
    assert config.unsafe_options() == ["backends.a.unsafe_plaintext"]


@pytest.mark.parametrize("url", ["http://u:p@127.0.0.1/v1", "http://127.0.0.1/v1?key=x", "ftp://127.0.0.1/"])
def test_a_backend_url_carries_no_credential_and_no_query(write, url):
    assert "backends.0" in refusal(write(MINIMAL.replace("http://127.0.0.1:8000/v1", url)))


def test_names_are_unique_and_backends_known(write):
    assert "unknown backend b" in refusal(write(MINIMAL.replace("backends: [a]", "backends: [b]")))
    twice = MINIMAL.replace("models: [", "models: [{name: m, backends: [a]}, ")
    assert "model m is defined twice" in refusal(write(twice))


def _undescribed(schema: dict, name: str) -> list[str]:
    """Return the keys without a description; a section of its own is described by its class."""
    values = schema.get("properties", {}).items()
    return [f"{name}.{key}" for key, value in values if "description" not in value and "$ref" not in value]


def test_every_key_is_described_in_the_schema():
    schema = config_schema()
    sections = {"GatewayConfig", *schema["$defs"]}
    missing = [m for name in schema["$defs"] for m in _undescribed(schema["$defs"][name], name)]
    assert sections
    assert missing + _undescribed(schema, "GatewayConfig") == []


def test_every_key_refuses_unknown_neighbours():
    schema = config_schema()
    assert schema["additionalProperties"] is False
    assert all(section["additionalProperties"] is False for section in schema["$defs"].values())
