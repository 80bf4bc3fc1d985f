"""The embedded authority: what it makes keeps every rule, its root may be away, and its files say what is wrong."""

import json
import stat

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from spiffe import X509Svid

from identity.authority import (
    DEFAULT_TTL_SECONDS,
    MAX_JWT_TTL_SECONDS,
    MAX_TTL_SECONDS,
    Authority,
    AuthoritySettings,
    authority_dir,
    bundle_path,
    create_trust_domain,
    key_pem,
    write_svid,
)
from identity.bundle import load_bundle
from identity.errors import AuthorityError, SealError, SpiffeIdError, SvidError
from identity.jwt_svid import verify_jwt_svid
from identity.keys import MemoryKeyManager, SealedKeyManager
from identity.sealing import generate_seal_key
from identity.spiffe_id import SpiffeId
from identity.verification import verify_peer
from tests.support.certificates import new_key

DOMAIN = "home.test"
AGENT = SpiffeId.parse("spiffe://home.test/agent/a")
DAY = 86_400
START = 1_800_000_000


def signers(domain):
    """The root and the signing certificate."""
    root = x509.load_der_x509_certificate(domain.published.authorities[0])
    return root, x509.load_der_x509_certificate(domain.issue(domain.open()).chain[1])


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def test_an_issued_svid_verifies_and_lives_one_hour_by_default(domain):
    svid = domain.open().issue_x509_svid(AGENT, new_key().public_key())
    peer = domain.verify(svid)
    assert (peer.id, peer.serial) == (str(AGENT), svid.serial)
    assert peer.not_before == START - 10
    assert peer.not_after == svid.not_after == START + DEFAULT_TTL_SECONDS == START + 3600


def test_an_issued_leaf_has_each_extension_as_the_specification_says(domain):
    svid = domain.open().issue_x509_svid(
        AGENT, new_key().public_key(), dns_names=("a.home.test",), ip_addresses=("127.0.0.1", "::1")
    )
    leaf, issuer = x509.load_pem_x509_certificates(svid.chain_pem)
    names = extension(leaf, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(AGENT)]
    assert names.get_values_for_type(x509.DNSName) == ["a.home.test"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert extension(leaf, x509.BasicConstraints).value == x509.BasicConstraints(ca=False, path_length=None)
    usage = extension(leaf, x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert not usage.value.crl_sign
    assert set(extension(leaf, x509.ExtendedKeyUsage).value) == {
        x509.ExtendedKeyUsageOID.SERVER_AUTH,
        x509.ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    identifier = extension(issuer, x509.SubjectKeyIdentifier).value.digest
    assert extension(leaf, x509.AuthorityKeyIdentifier).value.key_identifier == identifier


@pytest.mark.parametrize(("which", "path_length"), [(0, 1), (1, 0)])
def test_a_signing_certificate_is_bounded_and_carries_the_id_of_the_domain(domain, which, path_length):
    certificate = signers(domain)[which]
    constraints = extension(certificate, x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=path_length)
    usage = extension(certificate, x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    names = extension(certificate, x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("spiffe://home.test")]
    der = certificate.public_bytes(Encoding.DER)
    with pytest.raises(SvidError):
        verify_peer([der], {DOMAIN: domain.published}, START)


def test_serial_numbers_are_long_and_never_the_same(domain):
    authority = domain.open()
    key = new_key().public_key()
    serials = {authority.issue_x509_svid(AGENT, key).serial for _ in range(50)}
    assert len(serials) == 50
    assert min(len(serial) for serial in serials) > 16  # more than 64 bits


def test_another_implementation_accepts_what_is_issued(domain, tmp_path):
    key = new_key()
    svid = domain.open().issue_x509_svid(AGENT, key.public_key())
    parsed = X509Svid.parse(svid.chain_pem, key_pem(key))
    assert str(parsed.spiffe_id) == str(AGENT)
    assert len(parsed.cert_chain) == 2


@pytest.mark.parametrize(
    ("spiffe_id", "changes", "message"),
    [
        ("spiffe://away.test/agent/a", {}, "not a member"),
        ("spiffe://home.test", {}, "not a member"),
        (str(AGENT), {"ttl_seconds": 0}, "lives 1 to"),
        (str(AGENT), {"ttl_seconds": -1}, "lives 1 to"),
        (str(AGENT), {"ttl_seconds": MAX_TTL_SECONDS + 1}, "lives 1 to"),
        (str(AGENT), {"dns_names": ("",)}, "DNS name"),
        (str(AGENT), {"dns_names": ("a b",)}, "DNS name"),
        (str(AGENT), {"dns_names": ("ä.test",)}, "DNS name"),
        (str(AGENT), {"dns_names": ("a.test\n",)}, "DNS name"),
        (str(AGENT), {"dns_names": ("a" * 64 + ".test",)}, "DNS name"),
        (str(AGENT), {"dns_names": (".".join(["a" * 50] * 6),)}, "DNS name"),
        (str(AGENT), {"ip_addresses": ("300.1.1.1",)}, "address"),
    ],
)
def test_what_must_not_be_certified_is_refused(domain, spiffe_id, changes, message):
    with pytest.raises(AuthorityError, match=message):
        domain.open().issue_x509_svid(SpiffeId.parse(spiffe_id), new_key().public_key(), **changes)


def test_a_weak_key_is_not_certified_and_each_accepted_type_verifies(domain):
    authority = domain.open()
    with pytest.raises(AuthorityError, match="no accepted type"):
        authority.issue_x509_svid(AGENT, ec.generate_private_key(ec.SECP224R1()).public_key())
    for key in (ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()):
        assert domain.verify(authority.issue_x509_svid(AGENT, key.public_key())).id == str(AGENT)


def test_only_sealed_keys_are_there_and_they_are_private(domain):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in domain.files.iterdir()}
    sealed = {name for name in modes if name.endswith(".key.sealed")}
    assert len(sealed) == 3
    assert "root.key.sealed" in sealed
    assert modes == {"authorities.json": 0o644, "bundle.jwks": 0o644, **dict.fromkeys(sealed, 0o600)}
    assert stat.S_IMODE(domain.files.stat().st_mode) == 0o700
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in domain.files.iterdir())


def test_the_bundle_holds_the_root_and_the_jwt_key_and_lies_beside_them_as_jwks(domain):
    authority = domain.open()
    root, signing = signers(domain)
    assert authority.bundle().authorities == (root.public_bytes(Encoding.DER),)
    assert set(authority.bundle().jwt_keys) == {authority.show().jwt[0].authority_id}
    assert authority.bundle().sequence == 1
    assert authority.bundle() == load_bundle(DOMAIN, bundle_path(domain.state_dir)) == domain.first_bundle
    assert root.signature_hash_algorithm.name == signing.signature_hash_algorithm.name == "sha256"


def test_the_id_of_an_authority_is_that_of_its_key_in_the_certificate_the_svid_and_the_proof(domain):
    authority = domain.open()
    svid = domain.issue(authority)
    root, signing = signers(domain)
    ids = [extension(each, x509.SubjectKeyIdentifier).value.digest.hex() for each in (signing, root)]
    assert svid.authority_id == authority.show().x509[0].authority_id == ids[0]
    assert authority.show().x509[0].root_id == ids[1]
    assert domain.verify(svid).authorities == tuple(ids)


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048"])
def test_authorities_of_each_type_of_key_sign_what_verifies(make_domain, key_type):
    domain = make_domain(root_key_type=key_type, signing_key_type=key_type, jwt_key_type=key_type)
    authority = domain.open()
    assert domain.verify(domain.issue(authority)).id == str(AGENT)
    assert domain.verify_jwt(domain.issue_jwt(authority)).id == str(AGENT)
    assert {each.key_type for each in (*authority.show().x509, *authority.show().jwt)} == {key_type}


def test_a_jwt_svid_lives_five_minutes_by_default_and_names_key_and_id(domain):
    authority = domain.open()
    svid = authority.issue_jwt_svid(AGENT, ["verifier", "other"], claims={"iss": "https://home.test", "team": "x"})
    identity = domain.verify_jwt(svid)
    assert (identity.id, identity.audience) == (str(AGENT), ("verifier", "other"))
    assert identity.issued_at == svid.issued_at == START
    assert identity.not_after == svid.expires_at == START + 300
    assert identity.key_id == svid.key_id == authority.show().jwt[0].authority_id
    assert identity.jti == svid.jti != domain.issue_jwt(authority).jti
    assert (identity.claims["iss"], identity.claims["team"]) == ("https://home.test", "x")
    assert jwt.get_unverified_header(svid.token) == {"alg": "ES256", "kid": svid.key_id, "typ": "JWT"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spiffe_id": SpiffeId.parse("spiffe://away.test/a")}, "not a member"),
        ({"spiffe_id": SpiffeId.parse("spiffe://home.test")}, "not a member"),
        ({"audience": []}, "audience"),
        ({"audience": ["a", ""]}, "audience"),
        ({"audience": "verifier"}, "audience"),
        ({"ttl_seconds": 0}, "1 to 3600"),
        ({"ttl_seconds": MAX_JWT_TTL_SECONDS + 1}, "1 to 3600"),
        ({"claims": {"sub": "spiffe://home.test/b"}}, "'sub' is set by the authority"),
        ({"claims": {"exp": 1}}, "'exp' is set by the authority"),
        ({"claims": {"x": object()}}, "cannot be signed"),
        ({"claims": {"x": float("nan")}}, "cannot be signed"),
    ],
)
def test_no_jwt_svid_is_signed_out_of_bounds(domain, changes, message):
    with pytest.raises(AuthorityError, match=message):
        domain.open().issue_jwt_svid(**{"spiffe_id": AGENT, "audience": ["verifier"], **changes})


def test_every_day_goes_on_without_the_roots_key(domain):
    domain.take_root_key_away()
    assert domain.verify(domain.issue(domain.open())).id == str(AGENT)


def test_an_authority_is_never_overwritten(domain):
    before = {path.name: path.read_bytes() for path in domain.files.iterdir()}
    with pytest.raises(AuthorityError, match="never overwritten"):
        create_trust_domain(domain.state_dir, DOMAIN, domain.keys, domain.clock)
    (domain.files / "authorities.json").unlink()
    with pytest.raises(AuthorityError, match="never overwritten"):
        create_trust_domain(domain.state_dir, DOMAIN, domain.keys, domain.clock)
    (domain.files / "authorities.json").write_bytes(before["authorities.json"])
    assert {path.name: path.read_bytes() for path in domain.files.iterdir()} == before


@pytest.mark.parametrize(
    ("trust_domain", "seal_key", "error"),
    [("Home Test", generate_seal_key(), SpiffeIdError), (DOMAIN, b"short", SealError)],
    ids=["name", "key"],
)
def test_a_creation_that_fails_leaves_nothing_and_can_be_done_again(tmp_path, trust_domain, seal_key, error):
    with pytest.raises(error):
        create_trust_domain(tmp_path, trust_domain, SealedKeyManager(authority_dir(tmp_path), seal_key), lambda: 0)
    assert list(tmp_path.iterdir()) == []
    keys = SealedKeyManager(authority_dir(tmp_path), generate_seal_key())
    assert create_trust_domain(tmp_path, DOMAIN, keys, lambda: 0).authorities


def test_keys_may_be_kept_in_memory(tmp_path):
    keys = MemoryKeyManager()
    bundle = create_trust_domain(tmp_path, DOMAIN, keys, lambda: START * 10**9)
    svid = Authority.open(tmp_path, DOMAIN, keys, lambda: START * 10**9).issue_x509_svid(AGENT, new_key().public_key())
    assert verify_peer(svid.chain, {DOMAIN: bundle}, START).id == str(AGENT)
    assert not list(authority_dir(tmp_path).glob("*.key*"))
    with pytest.raises(AuthorityError, match="cannot sign: there is no key"):
        Authority.open(tmp_path, DOMAIN, MemoryKeyManager(), lambda: 0)


class Elsewhere(ec.EllipticCurvePrivateKey):
    """A key that signs elsewhere and shows nothing but its public part."""

    def __init__(self, key):
        self._key, self.signatures = key, 0

    def sign(self, data, signature_algorithm):
        self.signatures += 1
        return self._key.sign(data, signature_algorithm)

    def public_key(self):
        return self._key.public_key()

    @property
    def curve(self):
        return self._key.curve

    def _never(self, *arguments, **options):
        raise AssertionError("a key that is elsewhere was asked for itself")

    key_size = property(_never)
    exchange = private_numbers = private_bytes = __copy__ = __deepcopy__ = _never


class KeysElsewhere(MemoryKeyManager):
    def private_key(self, key_id):
        return Elsewhere(super().private_key(key_id))

    def generate(self, key_id, key_type):
        return Elsewhere(super().generate(key_id, key_type))


def test_keys_may_sign_elsewhere_and_never_show_themselves(tmp_path):
    keys = KeysElsewhere()
    bundle = create_trust_domain(tmp_path, DOMAIN, keys, lambda: START * 10**9)
    authority = Authority.open(tmp_path, DOMAIN, keys, lambda: START * 10**9)
    authority.prepare("x509")
    authority.activate("x509")
    svid = authority.issue_x509_svid(AGENT, new_key().public_key())
    assert verify_peer(svid.chain, {DOMAIN: bundle}, START).id == str(AGENT)
    token = authority.issue_jwt_svid(AGENT, ["verifier"])
    assert verify_jwt_svid(token.token, {DOMAIN: bundle}, "verifier", START).id == str(AGENT)


def test_opening_says_what_is_wrong(domain, tmp_path):
    with pytest.raises(AuthorityError, match="govctl init"):
        Authority.open(tmp_path / "nothing", DOMAIN, domain.keys, domain.clock)
    with pytest.raises(AuthorityError, match=r"not of the trust domain away\.test"):
        domain.open("away.test")
    with pytest.raises(SealError, match="sealing key is another one"):
        domain.open(keys=SealedKeyManager(domain.files, generate_seal_key()))
    signing = next(domain.files.glob("x509-*.key.sealed"))
    signing.chmod(0o640)
    with pytest.raises(SealError, match="chmod 600"):
        domain.open()
    signing.unlink()
    with pytest.raises(AuthorityError, match="restore it from a backup"):
        domain.open()


def test_a_key_that_is_not_that_of_the_active_authority_is_named(domain):
    signing = next(domain.files.glob("x509-*.key.sealed"))
    signing.unlink()
    domain.keys.generate(signing.name.partition(".")[0], "ec-p256")
    with pytest.raises(AuthorityError, match="is not that of the active authority"):
        domain.open()


def edited(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"sequence": "1"},
        {"sequence": None},
        {"x509": {}},
        {"x509": []},
        {"jwt": []},
        {"roots": []},
        {"roots": [{"root_id": "00", "certificate": "no certificate", "key_id": ""}]},
        {"unknown": 1},
    ],
)
def test_a_document_that_is_not_of_an_authority_is_refused(domain, changes):
    edited(domain.files / "authorities.json", **changes)
    with pytest.raises(AuthorityError, match="restore"):
        domain.open()


@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b"{}", b"\xff"])
def test_a_document_that_was_damaged_is_named(domain, content):
    (domain.files / "authorities.json").write_bytes(content)
    with pytest.raises(AuthorityError, match=r"authorities\.json"):
        domain.open()


def test_two_active_authorities_are_refused(domain):
    document = json.loads((domain.files / "authorities.json").read_text())
    edited(domain.files / "authorities.json", jwt=document["jwt"] * 2)
    with pytest.raises(AuthorityError, match="contradict"):
        domain.open()


@pytest.mark.parametrize(
    "choices",
    [
        {"root_lifetime": 0},
        {"signing_lifetime": 59},
        {"jwt_key_lifetime": -1},
        {"refresh_hint": 0},
        {"root_key_type": "ec-p521"},
        {"signing_key_type": ""},
        {"jwt_key_type": "rsa-1024"},
        {"upstream_key": "only.key"},
        {"upstream_certificate": "only.pem"},
    ],
)
def test_choices_out_of_bounds_are_refused(choices):
    with pytest.raises(AuthorityError, match=next(iter(choices)).partition("_")[0]):
        AuthoritySettings(**choices)


def test_an_svid_is_written_with_a_private_key_that_fits_and_the_bundle_in_both_forms(domain, tmp_path):
    key = new_key()
    authority = domain.open()
    svid = authority.issue_x509_svid(AGENT, key.public_key())
    out = tmp_path / "agents" / "a"
    write_svid(out, svid, key, authority.bundle())
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {
        "svid.key": 0o600,
        "svid.pem": 0o644,
        "bundle.pem": 0o644,
        "bundle.jwks": 0o644,
    }
    assert (out / "svid.pem").read_bytes() == svid.chain_pem
    leaf = x509.load_pem_x509_certificate(svid.chain_pem)
    assert load_pem_private_key((out / "svid.key").read_bytes(), None).public_key() == leaf.public_key()
    for name in ("bundle.pem", "bundle.jwks"):
        assert load_bundle(DOMAIN, out / name).authorities == domain.published.authorities


def test_a_directory_that_cannot_be_made_is_named(domain, tmp_path):
    (tmp_path / "file").touch()
    authority = domain.open()
    svid = authority.issue_x509_svid(AGENT, new_key().public_key())
    with pytest.raises(AuthorityError, match="cannot be made"):
        write_svid(tmp_path / "file" / "a", svid, new_key(), authority.bundle())
