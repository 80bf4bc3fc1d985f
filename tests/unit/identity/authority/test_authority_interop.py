"""What the authority makes, as the openssl program sees it: verified, refused, and accepted as a TLS peer."""

import shutil
import subprocess
import time

import pytest

from identity.authority import Authority, authority_dir, create_trust_domain, write_svid
from identity.errors import IdentityError
from identity.keys import MemoryKeyManager, SealedKeyManager
from identity.sealing import generate_seal_key
from identity.spiffe_id import SpiffeId
from tests.support.certificates import new_key

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program: apt-get install openssl"),
]


@pytest.fixture
def out(tmp_path):
    key, seal_key = new_key(), generate_seal_key()
    keys = SealedKeyManager(authority_dir(tmp_path), seal_key)
    create_trust_domain(tmp_path, "home.test", keys, time.time_ns)
    authority = Authority.open(tmp_path, "home.test", keys, time.time_ns)
    svid = authority.issue_x509_svid(
        SpiffeId.parse("spiffe://home.test/agent/a"), key.public_key(), dns_names=("a.home.test",)
    )
    write_svid(tmp_path / "out", svid, key, authority.bundle())
    return tmp_path / "out"


def openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("purpose", ["sslclient", "sslserver"])
def test_openssl_verifies_an_svid_strictly_for_both_ends_of_tls(out, purpose):
    done = openssl(
        "verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose, "-CAfile", out / "bundle.pem",
        "-no-CApath", "-no-CAstore", "-untrusted", out / "svid.pem", out / "svid.pem",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_openssl_finds_no_chain_without_the_intermediate_or_with_another_domains_root(out, tmp_path):
    trusted = ["-CAfile", out / "bundle.pem", "-no-CApath", "-no-CAstore"]
    assert openssl("verify", *trusted, out / "svid.pem").returncode != 0
    bundle = create_trust_domain(tmp_path / "other", "home.test", MemoryKeyManager(), time.time_ns)
    other = tmp_path / "other.pem"
    other.write_bytes(bundle.to_pem())
    done = openssl("verify", "-CAfile", other, "-untrusted", out / "svid.pem", out / "svid.pem")
    assert done.returncode != 0


def test_openssl_reads_the_names_and_bounds_that_are_meant(out):
    shown = openssl("x509", "-in", out / "svid.pem", "-noout", "-text").stdout
    assert "URI:spiffe://home.test/agent/a, DNS:a.home.test" in shown
    assert "X509v3 Basic Constraints: critical\n                CA:FALSE" in shown
    assert "X509v3 Key Usage: critical\n                Digital Signature\n" in shown
    root = openssl("x509", "-in", out / "bundle.pem", "-noout", "-text").stdout
    assert "CA:TRUE, pathlen:1" in root
    assert "URI:spiffe://home.test" in root


def test_openssl_reads_the_private_key_and_it_belongs_to_the_leaf(out):
    from_key = openssl("pkey", "-in", out / "svid.key", "-pubout")
    from_leaf = openssl("x509", "-in", out / "svid.pem", "-noout", "-pubkey")
    assert from_key.returncode == from_leaf.returncode == 0
    assert from_key.stdout == from_leaf.stdout


def test_openssl_cannot_read_a_sealed_key(out):
    sealed = authority_dir(out.parent) / "root.key.sealed"
    assert openssl("pkey", "-in", sealed, "-inform", "DER", "-noout").returncode != 0
    with pytest.raises(IdentityError):
        Authority.open(out.parent, "home.test", SealedKeyManager(sealed.parent, generate_seal_key()), lambda: 0)
