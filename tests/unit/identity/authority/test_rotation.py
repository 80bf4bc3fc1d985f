"""The authority through its life: rotation in time, taint and revocation, other roots, an authority above it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identity.authority import AuthoritySettings, create_trust_domain
from identity.bundle import TrustBundle
from identity.errors import AuthorityError, SvidError
from identity.jwt_svid import verify_jwt_svid
from identity.keys import MemoryKeyManager
from identity.sealing import write_private
from identity.verification import verify_peer
from tests.support.certificates import CertificateAuthority, new_key

DAY = 86_400
START = 1_800_000_000
YEAR = 365 * DAY


def steps(events):
    return [(event.kind, event.action) for event in events]


def states(records):
    return [record.state for record in records]


@pytest.fixture
def authority(domain):
    return domain.open()


def test_nothing_is_due_at_the_beginning(domain, authority):
    assert authority.tick() == ()
    assert states(authority.show().x509) == states(authority.show().jwt) == ["active"]


def test_a_jwt_key_is_published_at_half_life_and_used_from_five_sixths_on(domain, authority):
    first = domain.issue_jwt(authority)
    domain.clock.now = START + 7 * DAY // 2
    assert steps(authority.tick()) == [("jwt", "prepared")]
    prepared = authority.show().jwt[1].authority_id
    assert set(domain.published.jwt_keys) == {first.key_id, prepared}
    assert domain.issue_jwt(authority).key_id == first.key_id
    domain.clock.now = START + 7 * DAY * 5 // 6
    assert steps(authority.tick()) == [("jwt", "activated")]
    assert domain.issue_jwt(authority).key_id == prepared
    domain.clock.now = START + 7 * DAY
    assert ("jwt", "expired") in steps(authority.tick())
    assert prepared in domain.published.jwt_keys
    assert first.key_id not in domain.published.jwt_keys
    with pytest.raises(SvidError, match="no key"):
        domain.verify_jwt(first)


def test_the_signing_authority_is_renewed_below_the_same_root_and_old_svids_stay_valid(domain, authority):
    bundle = domain.published
    first = domain.issue(authority)
    domain.clock.now = START + YEAR // 2
    authority.tick()
    assert states(authority.show().x509) == ["active", "prepared"]
    assert domain.issue(authority).authority_id == first.authority_id
    domain.clock.now = START + YEAR * 5 // 6 - 60
    old = domain.issue(authority, ttl_seconds=DAY)
    domain.clock.now += 120
    assert ("x509", "activated") in steps(authority.tick())
    new = domain.issue(authority)
    assert new.authority_id != first.authority_id
    assert authority.not_after == authority.show().x509[1].not_after == START + YEAR // 2 + YEAR
    for svid in (old, new):
        assert domain.verify(svid, bundle).authorities[0] == svid.authority_id
    assert domain.published.authorities == bundle.authorities


def test_the_sequence_rises_with_each_change_of_the_bundle_and_with_nothing_else(domain, authority):
    authority.prepare("x509")
    authority.activate("x509")
    assert domain.published.sequence == 1
    authority.prepare("jwt")
    assert domain.published.sequence == 2
    authority.activate("jwt")
    assert domain.published.sequence == 2
    authority.prepare("x509", new_root=True)
    assert domain.published.sequence == 3
    assert authority.bundle() == domain.published


def test_no_svid_outlives_the_authority_that_signed_it(domain, authority):
    domain.take_root_key_away()
    domain.clock.now = START + YEAR - 600
    svid = domain.issue(authority, ttl_seconds=DAY)
    assert svid.not_after == authority.not_after == START + YEAR
    assert domain.verify(svid).not_after == svid.not_after


def test_no_jwt_svid_outlives_its_key(domain, authority):
    domain.clock.now = START + 7 * DAY - 60
    svid = domain.issue_jwt(authority, ttl_seconds=3600)
    assert svid.expires_at == START + 7 * DAY
    assert domain.verify_jwt(svid).not_after == svid.expires_at


def test_nothing_is_issued_by_an_authority_that_has_expired_and_the_remedy_is_named(domain, authority):
    domain.clock.now = START + YEAR
    with pytest.raises(AuthorityError, match="govctl authority x509 prepare"):
        domain.issue(authority)
    with pytest.raises(AuthorityError, match="govctl authority jwt prepare"):
        domain.issue_jwt(authority)


def test_an_authority_that_slept_through_everything_is_made_anew_at_once(domain, authority):
    domain.clock.now = START + YEAR + DAY
    assert steps(authority.tick()) == [
        (kind, action) for kind in ("x509", "jwt") for action in ("prepared", "activated")
    ]
    assert domain.verify(domain.issue(authority))
    assert domain.verify_jwt(domain.issue_jwt(authority))
    domain.clock.now += 1
    assert steps(authority.tick()) == [("x509", "expired"), ("jwt", "expired")]


def test_without_the_roots_key_it_says_so_once_and_goes_on_until_the_key_is_back(domain, authority):
    domain.take_root_key_away()
    domain.clock.now = START + YEAR // 2
    failed = [event for event in authority.tick() if event.kind == "x509"]
    assert [event.action for event in failed] == ["failed"]
    assert "root.key.sealed" in failed[0].detail
    assert authority.show().failures == (failed[0].detail,)
    domain.clock.now += 61
    assert [event for event in authority.tick() if event.kind == "x509"] == []
    assert domain.verify(domain.issue(authority))
    domain.bring_root_key_back()
    domain.clock.now += 61
    assert steps(authority.tick()) == [("x509", "prepared")]
    assert authority.show().failures == ()


def test_a_root_at_its_end_signs_no_further_authority_without_gain(make_domain):
    domain = make_domain(root_lifetime=30 * DAY)
    authority = domain.open()
    assert authority.not_after == START + 30 * DAY
    domain.clock.now = START + 20 * DAY
    failed = [event for event in authority.tick() if event.kind == "x509"]
    assert [event.action for event in failed] == ["failed"]
    assert "--new-root" in failed[0].detail
    assert states(authority.show().x509) == ["active"]
    assert len(list(domain.files.glob("x509-*.key.sealed"))) == 1


def test_another_root_is_published_at_once_and_used_when_it_is_activated(domain, authority):
    old_root, old = domain.published.authorities, domain.issue(authority)
    event = authority.prepare("x509", new_root=True)
    assert event.action == "prepared"
    assert len(domain.published.authorities) == 2
    assert domain.issue(authority).authority_id == old.authority_id
    both = domain.published
    assert authority.activate("x509", event.authority_id).action == "activated"
    new = domain.issue(authority)
    assert new.authority_id == event.authority_id
    assert domain.verify(old, both)
    assert domain.verify(new, both)
    with pytest.raises(SvidError):
        domain.verify(new, TrustBundle(domain.name, old_root))


def test_a_root_whose_key_is_lost_can_be_replaced(domain, authority):
    domain.take_root_key_away()
    with pytest.raises(AuthorityError, match="not at hand"):
        authority.prepare("x509")
    authority.prepare("x509", new_root=True)
    assert {path.name for path in domain.files.glob("root*")} != {"root.key.sealed"}
    authority.activate("x509")
    assert domain.verify(domain.issue(authority))


def test_a_preparation_that_is_replaced_leaves_neither_root_nor_key(domain, authority):
    before = domain.published
    authority.prepare("x509", new_root=True)
    authority.prepare("x509")
    assert domain.published.authorities == before.authorities
    assert domain.published.sequence == before.sequence + 2
    assert {path.name for path in domain.files.glob("root*")} == {"root.key.sealed"}
    assert len(list(domain.files.glob("x509-*.key.sealed"))) == 2


def test_the_key_of_a_root_that_is_not_that_root_is_refused(domain, authority):
    domain.take_root_key_away()
    domain.keys.generate("root", "ec-p256")
    with pytest.raises(AuthorityError, match="is not that of the root"):
        authority.prepare("x509")


@pytest.mark.parametrize("kind", ["x509", "jwt"])
def test_a_tainted_authority_is_named_to_every_holder_until_it_expires(domain, authority, kind):
    first = getattr(authority.show(), kind)[0].authority_id
    with pytest.raises(AuthorityError, match="activate another one first"):
        authority.taint(kind, first)
    authority.prepare(kind)
    authority.activate(kind)
    assert authority.tainted() == frozenset()
    assert authority.taint(kind, first).action == "tainted"
    assert authority.tainted() == {first}
    assert [r.tainted for r in getattr(authority.show(), kind)] == [True, False]
    assert authority.revoked_authorities() == frozenset()


def rotate(authority, kind, **choices):
    """Activate another authority, taint the one before, and return its id."""
    before = next(r.authority_id for r in getattr(authority.show(), kind) if r.state == "active")
    authority.prepare(kind, **choices)
    authority.activate(kind)
    authority.taint(kind, before)
    return before


def test_a_revoked_authority_below_a_root_that_stays_is_known_by_its_id(domain, authority):
    svid = domain.issue(authority)
    gone = rotate(authority, "x509")
    event = authority.revoke("x509", gone)
    assert "stays in the bundle" in event.detail
    assert authority.revoked_authorities() == authority.tainted() == {gone}
    assert authority.show().revoked == (gone,)
    assert gone in domain.verify(svid).authorities
    domain.clock.now = START + YEAR
    authority.tick()
    assert authority.revoked_authorities() == frozenset()


def test_a_revoked_authority_that_was_alone_below_its_root_takes_the_root_along(domain, authority):
    svid, root = domain.issue(authority), domain.published.authorities[0]
    gone = rotate(authority, "x509", new_root=True)
    assert authority.revoke("x509", gone).detail == ""
    assert root not in domain.published.authorities
    with pytest.raises(SvidError):
        domain.verify(svid)
    assert domain.verify(domain.issue(authority))
    assert not (domain.files / "root.key.sealed").exists()


def test_a_revoked_jwt_key_leaves_the_bundle_at_once(domain, authority):
    svid = domain.issue_jwt(authority)
    gone = rotate(authority, "jwt")
    assert domain.verify_jwt(svid)
    authority.revoke("jwt", gone)
    assert gone not in domain.published.jwt_keys
    with pytest.raises(SvidError, match="no key"):
        domain.verify_jwt(svid)
    assert gone in authority.revoked_authorities()


def test_jwt_keys_have_no_root(authority):
    with pytest.raises(AuthorityError, match="no root"):
        authority.prepare("jwt", new_root=True)


def test_old_keys_do_not_pile_up(domain, authority):
    for _ in range(5):
        authority.prepare("jwt")
    assert len(list(domain.files.glob("jwt-*.key.sealed"))) == 2


# an authority above


def upstream_files(directory, *authorities):
    directory.mkdir(exist_ok=True)
    certificate, key = directory / "upstream.pem", directory / "upstream.key"
    certificate.write_bytes(b"".join(each.certificate.public_bytes(Encoding.PEM) for each in authorities))
    pem = authorities[0].key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(key, pem)
    return {"upstream_certificate": certificate, "upstream_key": key}


@pytest.fixture
def company():
    return CertificateAuthority.root("home.test", now=START, uri="", days=900)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_companys_root_signs_the_signing_authority(make_domain, tmp_path, company, depth):
    above = [company]
    for _ in range(depth):
        above.insert(0, above[0].intermediate("", now=START, days=800))
    domain = make_domain(**upstream_files(tmp_path / "company", *above))
    authority = domain.open()
    svid = domain.issue(authority)
    assert domain.published.authorities == (company.der,)
    assert len(svid.chain) == 2 + depth
    assert domain.verify(svid).id == str(domain.agent)
    assert not list(domain.files.glob("root*"))
    with pytest.raises(AuthorityError, match="upstream"):
        authority.prepare("x509", new_root=True)


def test_every_day_goes_on_without_the_upstream_files(make_domain, tmp_path, company):
    choices = upstream_files(tmp_path / "company", company)
    domain = make_domain(**choices)
    choices["upstream_key"].unlink()
    authority = domain.open()
    assert domain.verify(domain.issue(authority))
    domain.clock.now = START + YEAR // 2 + DAY
    assert [e.detail for e in authority.tick() if e.action == "failed" and "upstream.key" in e.detail]
    assert domain.verify(domain.issue(authority))


def test_an_own_root_gives_way_to_an_upstream_authority(domain, tmp_path, company):
    authority = domain.open(**upstream_files(tmp_path / "company", company))
    old = domain.issue(authority)
    authority.prepare("x509")
    assert set(domain.published.authorities) > {company.der}
    authority.activate("x509")
    new = domain.issue(authority)
    assert domain.verify(old)
    assert domain.verify(new, TrustBundle(domain.name, (company.der,)))


def test_a_root_that_is_not_ours_is_never_renewed_by_us(make_domain, tmp_path, company):
    domain = make_domain(**upstream_files(tmp_path / "company", company))
    authority = domain.open(upstream_certificate=None, upstream_key=None)
    with pytest.raises(AuthorityError, match="is not ours"):
        authority.prepare("x509")


def own_upstream(path_length=None, ca=True, days=900):
    """A root with a path length of its own."""
    key, at = new_key(), datetime.fromtimestamp(START - DAY, UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "company")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(at)
    builder = builder.not_valid_after(at + timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return CertificateAuthority(builder.sign(key, hashes.SHA256()), key)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda f, c: f["upstream_certificate"].unlink(), "cannot be read"),
        (lambda f, c: f["upstream_key"].unlink(), "cannot be read"),
        (lambda f, c: f["upstream_key"].chmod(0o644), "chmod 600"),
        (lambda f, c: f["upstream_key"].write_bytes(b"none"), "upstream"),
        (lambda f, c: f["upstream_certificate"].write_bytes(b"none"), "upstream"),
        (lambda f, c: upstream_files(f["upstream_key"].parent, c.intermediate("", now=START)), "not a root"),
        (lambda f, c: upstream_files(f["upstream_key"].parent, c, c.intermediate("", now=START)), "not a root"),
        (
            lambda f, c: f["upstream_certificate"].write_bytes(own_upstream().certificate.public_bytes(Encoding.PEM)),
            "not the key",
        ),
        (lambda f, c: upstream_files(f["upstream_key"].parent, own_upstream(path_length=0)), "does not verify"),
        (lambda f, c: upstream_files(f["upstream_key"].parent, own_upstream(ca=False)), "not"),
        (lambda f, c: upstream_files(f["upstream_key"].parent, own_upstream(days=1)), "expired"),
        (
            lambda f, c: upstream_files(
                f["upstream_key"].parent, CertificateAuthority.root("away.test", now=START, days=9)
            ),
            r"not of spiffe://home\.test",
        ),
    ],
)
def test_an_upstream_authority_that_cannot_sign_ours_is_refused_and_nothing_is_left(tmp_path, company, broken, message):
    files = upstream_files(tmp_path / "company", company)
    broken(files, company)
    state_dir = tmp_path / "state"
    keys = MemoryKeyManager()
    with pytest.raises(AuthorityError, match=message):
        create_trust_domain(state_dir, "home.test", keys, lambda: START * 10**9, AuthoritySettings(**files))
    assert list(state_dir.iterdir()) == []
    assert keys.ids() == frozenset()


# any life


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(
        st.tuples(
            st.sampled_from(["wait", "wait", "prepare", "new root", "activate", "taint", "revoke"]),
            st.sampled_from(["x509", "jwt"]),
            st.integers(0, 40 * DAY),
        ),
        max_size=12,
    )
)
def test_through_any_life_each_svid_verifies_until_its_end_unless_its_authority_was_revoked(
    tmp_path_factory, domain_class, moves
):
    domain = domain_class(tmp_path_factory.mktemp("life"), signing_lifetime=60 * DAY)
    authority = domain.open()
    x509_svids, jwt_svids, sequence = [], [], 0
    for move, kind, number in moves:
        records = getattr(authority.show(), kind)
        target = records[number % len(records)].authority_id
        try:
            if move == "wait":
                domain.clock.now += number
                authority.tick()
            elif move == "prepare":
                authority.prepare(kind)
            elif move == "new root":
                authority.prepare("x509", new_root=True)
            elif move == "activate":
                authority.activate(kind)
            else:
                getattr(authority, move)(kind, target)
        except AuthorityError:
            pass
        x509_svids.append(domain.issue(authority, ttl_seconds=DAY))
        jwt_svids.append(domain.issue_jwt(authority, ttl_seconds=3600))
        bundle, revoked, now = domain.published, authority.revoked_authorities(), domain.clock.now
        assert bundle == authority.bundle()
        assert bundle.sequence >= sequence
        sequence = bundle.sequence
        for svid in x509_svids:
            if now < svid.not_after and svid.authority_id not in revoked:
                assert verify_peer(svid.chain, {"home.test": bundle}, now).authorities[0] == svid.authority_id
        for token in jwt_svids:
            if now < token.expires_at and token.key_id not in revoked:
                assert verify_jwt_svid(token.token, {"home.test": bundle}, "verifier", now).key_id == token.key_id
            if token.key_id in revoked:
                assert token.key_id not in bundle.jwt_keys
        reopened = domain.open()
        assert reopened.show() == replace(authority.show(), failures=())
        assert domain.keys.ids() == {
            record["key_id"] for part in ("roots", "x509", "jwt") for record in json.loads((domain.files / "authorities.json").read_text())[part]
        }  # fmt: skip
