"""What a leaf is called beside its URI: something for those that ask for a name, and never a host's."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from identity.ca import make_leaf, make_root
from identity.spiffe_id import TrustDomain

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/gateway", "spiffe://example.org/gateway"),
        ("/localhost", "spiffe://example.org/localhost"),
        ("/agent/" + "long" * 40, "spiffe-id-sha256:"),
    ],
)
def test_a_leaf_has_a_common_name_that_nobody_takes_for_a_host(path: str, expected: str) -> None:
    domain, key = TrustDomain("example.org"), ec.generate_private_key(ec.SECP256R1())
    root = make_root(domain, key, NOW, timedelta(days=1))
    leaf = make_leaf(domain.id(path), key.public_key(), root, key, NOW, NOW + timedelta(hours=1))
    [name] = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert str(name.value).startswith(expected)
    assert ":" in str(name.value)
    assert len(name.value) <= 64
