"""A secret is unwrapped where it is used and nowhere else."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

ALLOWED = {
    "gateway/app.py": "the URL of the audit database; the key that seals the authority's",
    "gateway/audit_anchors.py": "signs requests to the object store",
    "gateway/audit_keys.py": "the key that seals the log's",
    "gateway/audit_sinks.py": "what a sink shows its receiver",
    "gateway/cli/audit/moving.py": "the URL of another audit database",
    "gateway/evidence_key.py": "the key that seals the evidence's",
    "gateway/hops.py": "only the host of the database's URL",
    "gateway/policy_activation/sources.py": "what a source of bundles is shown",
    "gateway/sealed_content.py": "the wrapping key of sealed content",
    "gateway/secret_ages.py": "a keyed digest, to tell values apart",
    "gateway/secrets/exchanging.py": "a token of Google, on its way to its service accounts",
    "gateway/secrets/passing.py": "over the socket pair to a worker",
    "gateway/secrets/sealed_file.py": "the file's key; values when it is written",
    "gateway/secrets/vault/client.py": "the gateway's own token, on its way to Vault",
    "gateway/secrets/vault/login.py": "what a login shows",
    "gateway/self_observation.py": "a key is derived for those digests",
    "gateway/upstream/http1/tls.py": "the key of a client certificate, for the handshake",
    "gateway/upstream/injection.py": "the credential, on its way to the backend",
}
"""Modules that may unwrap a secret, and what for."""


def test_secrets_are_unwrapped_in_these_modules_only():
    found = {
        str(path.relative_to(ROOT))
        for package in ("gateway", "identity", "audit", "compliance")
        for path in (ROOT / package).rglob("*.py")
        if ".reveal(" in path.read_text()
    }
    assert found == set(ALLOWED)
