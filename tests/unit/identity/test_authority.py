"""The embedded authority: what it makes keeps every rule, its root may be away, and its files survive mishaps."""

import fcntl
import multiprocessing
import os
import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from spiffe import X509Svid

from identity.authority import (
    DEFAULT_TTL_SECONDS,
    MAX_TTL_SECONDS,
    Authority,
    authority_dir,
    bundle_path,
    create_trust_domain,
    key_pem,
    renew,
    write_svid,
)
from identity.bundle import load_bundle
from identity.clock import NANOSECONDS
from identity.errors import AuthorityError, SealError, SpiffeIdError
from identity.sealing import generate_seal_key
from identity.spiffe_id import SpiffeId
from identity.verification import SvidError, verify_peer
from tests.support.certificates import new_key

DOMAIN = "home.test"
AGENT = SpiffeId.parse("spiffe://home.test/agent/a")
DAY = 86_400
START = 1_800_000_000


class SettableClock:
    """A clock that stands still until it is set (UNIX seconds)."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now * NANOSECONDS


class Domain:
    """A trust domain in a directory of its own."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir, self.seal_key, self.clock = state_dir, generate_seal_key(), SettableClock()
        self.bundle = create_trust_domain(state_dir, DOMAIN, self.seal_key, self.clock)

    @property
    def files(self) -> Path:
        return authority_dir(self.state_dir)

    @property
    def bundles(self):
        return {DOMAIN: self.bundle}

    def open(self, trust_domain: str = DOMAIN) -> Authority:
        return Authority.open(self.state_dir, trust_domain, self.seal_key, self.clock)

    def renew(self, trust_domain: str = DOMAIN) -> None:
        renew(self.state_dir, trust_domain, self.seal_key, self.clock)

    def certificate(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.files / name).read_bytes())

    def verify(self, svid):
        chain = [c.public_bytes(Encoding.DER) for c in x509.load_pem_x509_certificates(svid.chain_pem)]
        return verify_peer(chain, self.bundles, self.clock.now)

    def take_root_key_away(self) -> Path:
        return (self.files / "root.key.sealed").rename(self.state_dir / "elsewhere")


@pytest.fixture
def domain(tmp_path):
    return Domain(tmp_path / "state")


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


@pytest.mark.parametrize(("name", "path_length"), [("root.crt", 1), ("signing.crt", 0)])
def test_a_signing_certificate_is_bounded_and_carries_the_id_of_the_domain(domain, name, path_length):
    certificate = domain.certificate(name)
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
        verify_peer([der], domain.bundles, START)


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


def test_only_the_sealed_keys_are_there_and_they_are_private(domain):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in domain.files.iterdir()}
    assert modes == {
        "root.key.sealed": 0o600,
        "signing.key.sealed": 0o600,
        "root.crt": 0o644,
        "signing.crt": 0o644,
        "bundle.jwks": 0o644,
    }
    assert stat.S_IMODE(domain.files.stat().st_mode) == 0o700
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in domain.files.iterdir())


def test_the_bundle_holds_the_root_alone_and_lies_beside_it_as_jwks(domain):
    root = domain.certificate("root.crt").public_bytes(Encoding.DER)
    assert domain.bundle.authorities == (root,)
    assert domain.bundle.sequence == 1
    assert domain.open().bundle() == load_bundle(DOMAIN, bundle_path(domain.state_dir)) == domain.bundle


def test_every_day_goes_on_without_the_roots_key(domain):
    domain.take_root_key_away()
    assert domain.verify(domain.open().issue_x509_svid(AGENT, new_key().public_key())).id == str(AGENT)


def test_an_authority_is_never_overwritten(domain):
    before = {path.name: path.read_bytes() for path in domain.files.iterdir()}
    with pytest.raises(AuthorityError, match="never overwritten"):
        create_trust_domain(domain.state_dir, DOMAIN, domain.seal_key, domain.clock)
    assert {path.name: path.read_bytes() for path in domain.files.iterdir()} == before


@pytest.mark.parametrize(
    ("trust_domain", "seal_key", "error"),
    [("Home Test", generate_seal_key(), SpiffeIdError), (DOMAIN, b"short", SealError)],
)
def test_a_creation_that_fails_leaves_nothing_and_can_be_done_again(tmp_path, trust_domain, seal_key, error):
    with pytest.raises(error):
        create_trust_domain(tmp_path, trust_domain, seal_key, SettableClock())
    assert list(tmp_path.iterdir()) == []
    assert create_trust_domain(tmp_path, DOMAIN, generate_seal_key(), SettableClock()).authorities


def test_opening_says_what_is_wrong(domain, tmp_path):
    with pytest.raises(AuthorityError, match="govctl init"):
        Authority.open(tmp_path / "nothing", DOMAIN, domain.seal_key, domain.clock)
    with pytest.raises(AuthorityError, match=r"not of the trust domain away\.test"):
        domain.open("away.test")
    with pytest.raises(SealError, match="sealing key is another one"):
        Authority.open(domain.state_dir, DOMAIN, generate_seal_key(), domain.clock)
    (domain.files / "signing.key.sealed").chmod(0o640)
    with pytest.raises(SealError, match="chmod 600"):
        domain.open()
    (domain.files / "signing.crt").write_bytes(b"garbage")
    with pytest.raises(AuthorityError, match=r"signing\.crt"):
        domain.open()


def test_an_svid_never_outlives_its_signing_certificate(domain):
    domain.take_root_key_away()
    domain.clock.now = START + 365 * DAY - 600
    authority = domain.open()
    svid = authority.issue_x509_svid(AGENT, new_key().public_key(), MAX_TTL_SECONDS)
    assert svid.not_after == authority.not_after == START + 365 * DAY
    assert domain.verify(svid).not_after == svid.not_after


def test_after_the_end_of_the_signing_certificate_nothing_is_issued_and_the_remedy_is_named(domain):
    domain.take_root_key_away()
    domain.clock.now = START + 365 * DAY
    with pytest.raises(AuthorityError, match=r"bring root\.key\.sealed back"):
        domain.open().issue_x509_svid(AGENT, new_key().public_key())


def test_the_signing_certificate_is_renewed_in_the_last_sixth_of_its_life_and_not_before(domain):
    first = domain.certificate("signing.crt")
    domain.clock.now = START + 365 * DAY * 4 // 5
    domain.open()
    assert domain.certificate("signing.crt") == first
    old_svid = domain.open().issue_x509_svid(AGENT, new_key().public_key(), MAX_TTL_SECONDS)
    domain.clock.now = START + 365 * DAY * 5 // 6 + 60
    renewed = domain.open()
    assert renewed.not_after == domain.clock.now + 365 * DAY
    assert domain.verify(renewed.issue_x509_svid(AGENT, new_key().public_key())).id == str(AGENT)
    domain.clock.now = old_svid.not_after - 60
    assert domain.verify(old_svid).id == str(AGENT)


def test_a_renewal_on_demand_needs_the_roots_key_and_the_right_domain(domain):
    before = (domain.files / "signing.crt").read_bytes()
    with pytest.raises(AuthorityError, match=r"not of the trust domain away\.test"):
        domain.renew("away.test")
    away = domain.take_root_key_away()
    with pytest.raises(AuthorityError, match=r"bring root\.key\.sealed back"):
        domain.renew()
    assert (domain.files / "signing.crt").read_bytes() == before
    away.rename(domain.files / "root.key.sealed")
    domain.renew()
    assert (domain.files / "signing.crt").read_bytes() != before
    assert domain.verify(domain.open().issue_x509_svid(AGENT, new_key().public_key())).id == str(AGENT)


def test_a_signing_certificate_never_outlives_the_root_and_an_expired_root_renews_nothing(tmp_path):
    key, clock = generate_seal_key(), SettableClock()
    create_trust_domain(tmp_path, DOMAIN, key, clock, root_lifetime=timedelta(days=30))
    assert Authority.open(tmp_path, DOMAIN, key, clock).not_after == START + 30 * DAY
    clock.now = START + 30 * DAY
    with pytest.raises(AuthorityError, match=r"root of home\.test expired"):
        renew(tmp_path, DOMAIN, key, clock)


def test_a_crash_between_key_and_certificate_of_a_renewal_is_mended_from_the_root(domain):
    old_certificate = (domain.files / "signing.crt").read_bytes()
    domain.renew()
    (domain.files / "signing.crt").write_bytes(old_certificate)  # the key is new, the certificate is not
    away = domain.take_root_key_away()
    with pytest.raises(AuthorityError, match="do not belong together"):
        domain.open()
    away.rename(domain.files / "root.key.sealed")
    assert domain.verify(domain.open().issue_x509_svid(AGENT, new_key().public_key())).id == str(AGENT)


@pytest.mark.parametrize("wait", [Domain.open, Domain.renew])
def test_opening_and_renewing_wait_for_another_process_that_renews(domain, wait):
    holder = os.open(domain.files, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    waiting = threading.Thread(target=wait, args=(domain,))
    waiting.start()
    waiting.join(0.3)
    still_waiting = waiting.is_alive()
    os.close(holder)
    waiting.join(30)
    assert still_waiting
    assert not waiting.is_alive()


def _renew_often(domain):
    for _ in range(5):
        domain.renew()


def test_processes_that_renew_at_once_leave_a_key_and_a_certificate_that_fit(domain):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_renew_often, args=(domain,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    domain.take_root_key_away()  # so that opening cannot mend a pair that does not fit
    assert domain.verify(domain.open().issue_x509_svid(AGENT, new_key().public_key())).id == str(AGENT)


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
        assert load_bundle(DOMAIN, out / name).authorities == domain.bundle.authorities


def test_a_directory_that_cannot_be_made_is_named(domain, tmp_path):
    (tmp_path / "file").touch()
    authority = domain.open()
    svid = authority.issue_x509_svid(AGENT, new_key().public_key())
    with pytest.raises(AuthorityError, match="cannot be made"):
        write_svid(tmp_path / "file" / "a", svid, new_key(), authority.bundle())
