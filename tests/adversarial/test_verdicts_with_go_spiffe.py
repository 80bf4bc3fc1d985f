"""SPIFFE IDs, X.509-SVIDs and JWT-SVIDs, sound and broken: our verdict beside go-spiffe's and the `spiffe` package's.

Where all say yes they must name the same identity. Every other difference is a row of one of the two tables here, and
each row is shown by an example.
"""

import re
import time
import warnings
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, currently_in_test_context, event, given, settings
from hypothesis import strategies as st
from spiffe import JwtBundle, JwtSvid, X509Svid
from spiffe import SpiffeId as TheirId

from identity.errors import SpiffeIdError, SvidError
from identity.jwt_svid import verify_jwt_svid
from identity.spiffe_id import SpiffeId
from identity.verification import verify_peer
from tests.support import broken_tokens
from tests.support.broken_svids import AGENT, CERTIFICATE, HOME, Authorities, content, key, signed_again
from tests.support.broken_tokens import AUDIENCE, TOKEN
from tests.support.changed_certificates import CHANGED, mutate
from tests.support.der import Node
from tests.support.go_spiffe import Conversation, conversation

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning"),
]

GO, PYTHON = "go-spiffe", "spiffe"
LONG = f"spiffe://{HOME}/" + "a" * 2048


@dataclass(frozen=True)
class Difference:
    """A known difference.

    Attributes:
        judges: who says otherwise.
        why: how the refusal begins, ours or theirs (a regular expression).
        reason: why that is right.
        examples: texts of SPIFFE IDs, or names in `CERTIFICATE`, `CHANGED` or `TOKEN`, that show it.
    """

    judges: tuple[str, ...]
    why: str
    reason: str
    examples: tuple[str, ...]


BOTH = (GO, PYTHON)

STRICTER = {
    "id": (
        Difference(BOTH, r"a SPIFFE ID has at most 2048 bytes", "SPIFFE-ID 2.3: nobody must read more", (LONG,)),
        Difference(
            BOTH, r"'[a-z0-9._-]{256,}' is not a trust domain", "SPIFFE-ID 2.3: a host has at most 255 bytes",
            ("spiffe://" + "a" * 256,),
        ),
        Difference(
            (PYTHON,), r".*a character other than|.*is not a trust domain",
            "their pattern ends with $, which a line end may follow", (AGENT + "\n", f"spiffe://{HOME}\n"),
        ),
        Difference(
            (PYTHON,), r".*that is not ASCII", "they take the Kelvin sign for a k when they write it small",
            ("spiffe://\u212aey.test/a",),
        ),
    ),
    "chain": (
        Difference(
            (GO,), r"certificate-malformed: .*", "the library refuses what is not DER, or not RFC 5280, anywhere in it",
            ("an empty RDN", "an attribute twice in an RDN", "a value too many in the extension"),
        ),
        Difference(BOTH, r"leaf-not-a-spiffe-id: .*at most 2048", "SPIFFE-ID 2.3", ("an ID too long",)),
        Difference((GO,), r"leaf-root-path:", "X509-SVID 2: a leaf has a path", ("no path",)),
        Difference((GO,), r"leaf-key-usage-missing:", "X509-SVID 4.3: it must be set", ("no key usage",)),
        Difference(
            BOTH, r"leaf-key-usage-not-critical:", "X509-SVID 4.3: it must be critical",
            ("a key usage that is not critical",),
        ),
        Difference(
            (GO,), r"leaf-digital-signature-missing:", "X509-SVID 4.3: a leaf must have it", ("no digitalSignature",)
        ),
        Difference(
            BOTH, r"leaf-extended-key-usage:", "X509-SVID 4.4: both or none; a SVID is for clients and servers",
            ("serverAuth alone", "clientAuth alone"),
        ),
        Difference(
            BOTH, r"leaf-san-not-critical:", "RFC 5280, 4.2.1.6", ("a SAN that is not critical without a subject",)
        ),
        Difference(BOTH, r"leaf-key-type:", "weak, or never issued by SPIRE", ("P-521", "RSA of 1024 bits")),
        Difference((GO,), r"leaf-expired:", "who is valid until now is not valid now", ("in its last second",)),
        Difference(
            BOTH, r"authority-id:", "X509-SVID 3.1: a signing certificate is of its own trust domain",
            ("over an intermediate of the other domain's name",),
        ),
        Difference(BOTH, r"chain-too-long:", "the work for a peer is bounded", ("too many certificates",)),
        Difference(
            (GO,), r"chain-not-trusted: .*(2\.5\.29\.35|critical|unsupported|extension|octets|ASN\.1)",
            "the library takes RFC 5280's rules on the extensions to the letter",
            ("no authority key identifier",),
        ),
        Difference(
            (GO,), r"certificate-policies:", "policies are not processed here", ("a policy mapping",)
        ),
        Difference(
            (PYTHON,),
            r"(leaf-expired|leaf-not-yet-valid|chain-not-trusted|trust-domain-unknown|certificate-policies"
            r"|certificate-key-form|certificate-malformed):",
            "they read certificates and leave verifying them to the caller",
            ("expired", "not valid yet", "signed by the other domain", "no bundle", "over one that demands policies"),
        ),
    ),
    "token": (
        Difference((GO,), r"jwt-critical:", "no extension is understood here", ("crit b64", "crit empty")),
        Difference((PYTHON,), r"jwt-critical:", "no extension is understood here", ("crit b64",)),
        Difference(
            (GO,), r"jwt-(expired|not-yet-valid|issued-in-future):", "they give clocks a minute, whoever asks or not",
            ("expired a moment ago", "nbf soon", "iat soon"),
        ),
        Difference((PYTHON,), r"jwt-issued-in-future:", "they do not look at iat", ("iat later",)),
        Difference(
            BOTH, r"jwt-subject: ", "SPIFFE-ID 2.3, and a member of a domain has a path",
            ("sub too long", "sub without a path"),
        ),
        Difference(BOTH, r"jwt-too-large:", "the work for a token is bounded", ("more than is read",)),
        Difference(
            BOTH, r"jwt-time-malformed:", "a time is a whole number that every reader of JSON reads alike",
            ("exp beyond what JSON can say", "exp with a fraction", "iat null", "iat negative"),
        ),
        Difference(BOTH, r"jwt-type:", "JWT-SVID 2.3: absent, JWT or JOSE; null is neither", ("typ null",)),
        Difference((PYTHON,), r"jwt-malformed: .*twice", "RFC 7515, 10.12: a choice of meaning", ("a claim twice",)),
        Difference(
            (GO,), r"jwt-malformed: .*(base64url|padding|nested)", "one form alone is read, and none that costs much",
            ("a line end after it", "bits left over at the end", "claims nested deeply"),
        ),
        Difference((GO,), r"jwt-(id|issuer):", "RFC 7519, 4.1: a text, which null is not", ("jti null", "iss null")),
        Difference((PYTHON,), r"jwt-issuer:", "RFC 7519, 4.1: a text, which null is not", ("iss null",)),
    ),
}  # fmt: skip
"""Where we refuse and another does not."""

LAXER = {
    "id": (
        Difference(
            (GO,), r"scheme is missing|trust domain characters are limited",
            "RFC 3986, 6.2.2.1: letter case of scheme and host means nothing; we write both small",
            ("SPIFFE://home.test/a", "spiffe://Home.test/a"),
        ),
    ),
    "chain": (
        Difference(
            (GO,), r".*trust domain characters are limited", "RFC 3986, 6.2.2.1, as above",
            ("a trust domain in capitals",),
        ),
        Difference(
            (PYTHON,), r".*URI SAN is not a SPIFFE ID", "RFC 3986, 6.2.2.1, as above", ("a scheme in capitals",)
        ),
        Difference(
            (GO,), r".*invalid RDNSequence: invalid attribute value",
            "the texts of the names identify nobody here, and the issuer's name is compared byte by byte",
            ("a subject in another type of text",),
        ),
        Difference(
            (PYTHON,), r".*must have BasicConstraints", "X509-SVID 4.1: what is absent is not a CA",
            ("no basic constraints",),
        ),
    ),
    "token": (
        Difference(
            (GO,), r".*scheme is missing|.*trust domain characters are limited", "RFC 3986, 6.2.2.1, as above",
            ("a subject in capitals",),
        ),
        Difference(
            (GO,), r'.*unable to parse JWT token.*"jwk"', "a key in the header is never used, so it is not read either",
            ("a key in the header",),
        ),
    ),
}  # fmt: skip
"""Where another refuses and we do not: none of it lets anybody in who was not signed for under that name."""


@dataclass(frozen=True)
class Verdict:
    """The identity that was proven, or else why not."""

    id: str = ""
    why: str = ""


def difference(kind: str, judge: str, ours: Verdict, theirs: Verdict) -> Difference | None:
    """Return the row that explains why `judge` says otherwise; fail where there is none."""
    if bool(ours.id) == bool(theirs.id):
        assert ours.id == theirs.id, f"{judge} reads another identity"
        note(f"{judge}: {'both yes' if ours.id else 'both no'}")
        return None
    table, why = (LAXER, theirs.why) if ours.id else (STRICTER, ours.why)
    for row in table[kind]:
        if judge in row.judges and re.match(row.why, why, re.DOTALL):
            note(f"{judge}: {'only ours yes' if ours.id else 'only ours no'}: {row.why}")
            return row
    raise AssertionError(f"{'laxer' if ours.id else 'stricter'} than {judge}, and no row says so: {why}")


def note(what: str) -> None:
    """Count it in Hypothesis's statistics (`--hypothesis-show-statistics`)."""
    if currently_in_test_context():
        event(what)


class Court:
    """Puts one question to all three."""

    def __init__(self, go: Conversation) -> None:
        self._go = go
        self.now = int(time.time())
        self.authorities = Authorities(self.now)
        self._key = key("p256").private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        self._bundles, self._key_sets = broken_tokens.bundles(), broken_tokens.key_sets()

    def identifier(self, text: str) -> list[Difference | None]:
        """Judge a SPIFFE ID."""
        try:
            ours = Verdict(str(SpiffeId.parse(text)))
        except SpiffeIdError as error:
            ours = Verdict(why=str(error))
        return self._compare("id", ours, {"id": text}, lambda: TheirId(text))

    def chain(self, chain: list[bytes], bundles: Any) -> list[Difference | None]:
        """Judge a chain (DER) by these bundles, now."""
        try:
            ours = Verdict(verify_peer(chain, bundles, self.now).id)
        except SvidError as error:
            ours = Verdict(why=f"{error.rule}: {error}")
        question = {
            "chain": [_text(der) for der in chain],
            "bundles": {name: [_text(der) for der in bundle.authorities] for name, bundle in bundles.items()},
            "now": self.now,
        }
        return self._compare("chain", ours, question, lambda: X509Svid.parse_raw(b"".join(chain), self._key).spiffe_id)

    def token(self, token: str) -> list[Difference | None]:
        """Judge a token, by the clock."""
        try:
            ours = Verdict(verify_jwt_svid(token, self._bundles, AUDIENCE, int(time.time())).id)
        except SvidError as error:
            ours = Verdict(why=f"{error.rule}: {error}")
        question = {"token": token, "jwks": self._key_sets, "audience": AUDIENCE}
        # go-spiffe does not say what it could not parse, so a row is told what stands in the header.
        header = re.sub(r"[^A-Za-z0-9_-]", "", token.partition(".")[0])
        whole = urlsafe_b64decode(header[: len(header) // 4 * 4]).decode(errors="replace")
        return self._compare("token", ours, question, lambda: self._their_token(token), whole)

    def _their_token(self, token: str) -> TheirId:
        claims = jwt.decode(token, options={"verify_signature": False})
        domain = TheirId(claims["sub"]).trust_domain
        bundle = JwtBundle(domain, dict(self._bundles[domain.name].jwt_keys))
        return JwtSvid.parse_and_validate(token, bundle, {AUDIENCE}).spiffe_id

    def _compare(
        self, kind: str, ours: Verdict, question: Any, theirs: Any, about: str = ""
    ) -> list[Difference | None]:
        [answer] = self._go.ask([question])
        go = Verdict(answer["id"], f"{answer['error']} {about}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                python = Verdict(str(theirs()))
        except Exception as error:
            python = Verdict(why=f"{type(error).__name__}: {error}")
        return [difference(kind, GO, ours, go), difference(kind, PYTHON, ours, python)]


@pytest.fixture(scope="module")
def court() -> Iterator[Court]:
    with conversation("verdicts") as go:
        yield Court(go)


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _examples() -> Iterator[Any]:
    for side, table in (("stricter", STRICTER), ("laxer", LAXER)):
        for kind, rows in table.items():
            for row in rows:
                for judge in row.judges:
                    yield pytest.param(kind, row, judge, id=f"{side} than {judge}: {row.examples[0][:40]!r}")


def changed(court: Court, name: str, change: Callable[[Node], None]) -> bytes:
    """Return a leaf of the home domain's root that was changed and signed again."""
    leaf = court.authorities.leaf(name)
    tbs = content(leaf)
    change(tbs)
    return signed_again(leaf, tbs, court.authorities.signers["home"])


@pytest.mark.parametrize(("kind", "row", "judge"), list(_examples()))
def test_each_row_of_the_tables_is_shown_by_its_examples(court, kind, row, judge):
    for example in row.examples:
        if kind == "id":
            found = court.identifier(example)
        elif kind == "token":
            found = court.token(broken_tokens.make([example]))
        elif example in CHANGED:
            found = court.chain([changed(court, "nothing", CHANGED[example])], court.authorities.bundles())
        else:
            found = court.chain(*court.authorities.make([example]))
        assert found[BOTH.index(judge)] is row, example


@pytest.mark.parametrize("name", CERTIFICATE)
def test_a_certificate_with_one_rule_broken(court, name):
    court.chain(*court.authorities.make([name]))


@pytest.mark.parametrize("name", TOKEN)
def test_a_token_with_one_rule_broken(court, name):
    court.token(broken_tokens.make([name]))


ODD = "AZ%@:?#/\\ \n\t\0\x7f\u00e9\u017f\u212a\uff0e\u0130+~=&*\U0001d41a"
SEGMENTS = st.one_of(
    st.text("azAZ09.-_", min_size=1, max_size=8), st.sampled_from(["", ".", "..", "...", "%41", "x" * 1700])
)
NEAR = st.builds(
    lambda scheme, name, path: scheme + name + "".join("/" + segment for segment in path),
    st.sampled_from(
        ["spiffe://"] * 6 + ["SPIFFE://", "spiffe:/", "spiffe:", "https://", "sp\u0130ffe://", "", " spiffe://"]
    ),
    st.one_of(st.text("az09.-_", max_size=12), st.sampled_from(["a" * 255, "a" * 256, "home.test", "Home.Test"])),
    st.lists(SEGMENTS, max_size=4),
)
MUTATED = st.builds(
    lambda text, at, odd, cut: text[: at % (len(text) + 1)] + odd + text[at % (len(text) + 1) + cut :],
    NEAR, st.integers(0, 4096), st.text(ODD, min_size=1, max_size=2), st.integers(0, 1),
)  # fmt: skip
FUZZING = settings(derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@settings(FUZZING, max_examples=1500)
@given(st.one_of(NEAR, MUTATED, st.text(max_size=40).map("spiffe://".__add__)))
def test_spiffe_ids_valid_nearly_valid_and_mutated(court, text):
    court.identifier(text)


@settings(FUZZING, max_examples=600)
@given(st.lists(st.sampled_from(sorted(CERTIFICATE)), min_size=2, max_size=4, unique=True))
def test_certificates_with_several_rules_broken(court, names):
    court.chain(*court.authorities.make(names))


@settings(FUZZING, max_examples=1000)
@given(st.lists(st.sampled_from(sorted(TOKEN)), min_size=2, max_size=4, unique=True))
def test_tokens_with_several_rules_broken(court, names):
    court.token(broken_tokens.make(names))


@settings(FUZZING, max_examples=600)
@given(st.data())
def test_a_token_changed_anywhere(court, data):
    token = broken_tokens.make([data.draw(st.sampled_from(list(TOKEN)[:14]))])
    at = data.draw(st.integers(0, 4095)) % len(token)
    court.token(
        token[:at] + data.draw(st.text("Ab0-_.=+/ \n", max_size=2)) + token[at + data.draw(st.integers(0, 2)) :]
    )


BASES = ("nothing", "a DNS name too", "a critical SAN without a subject", "no extended key usage")


@settings(FUZZING, max_examples=1500)
@given(st.data())
def test_a_certificate_changed_anywhere_and_signed_again(court, data):
    def change(tbs: Node) -> None:
        for _ in range(data.draw(st.integers(1, 2))):
            mutate(data, data.draw(st.sampled_from(list(tbs))))

    base = data.draw(st.sampled_from(BASES))
    court.chain([changed(court, base, change)], court.authorities.bundles())


@settings(FUZZING, max_examples=600)
@given(st.data())
def test_a_signing_certificate_changed_anywhere_and_signed_again(court, data):
    leaf, _ = court.authorities.chain("over an intermediate")
    intermediate = court.authorities.signers["intermediate"]
    tbs = content(intermediate.certificate)
    mutate(data, data.draw(st.sampled_from(list(tbs))))
    signing = signed_again(intermediate.certificate, tbs, court.authorities.signers["home"])
    court.chain([leaf, signing], court.authorities.bundles())


@settings(FUZZING, max_examples=600)
@given(st.data())
def test_a_chain_changed_in_any_byte(court, data):
    chain = court.authorities.chain("over two intermediates")
    index = data.draw(st.integers(0, len(chain) - 1))
    der = bytearray(chain[index])
    der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    court.chain([*chain[:index], bytes(der), *chain[index + 1 :]], court.authorities.bundles())
