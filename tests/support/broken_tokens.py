"""JWT-SVIDs that break chosen rules, one or several at a time, each under a name; signed as a test may never sign."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from identity.bundle import TrustBundle
from identity.jwk import encode, public_jwk
from tests.support.broken_svids import AGENT, AWAY, HOME, key

AUDIENCE = "gateway"
KEYS = ("p256", "p384", "p521", "rsa")
"""Names of the keys of the home domain, which are also their ids."""

AWAY_KEYS = {"p256": "away-p256", "away": "away-p256"}
"""Ids of the keys of the other domain, one of which the home domain has too, and their names."""

Member = Any
"""A value in the header or the claims; `...` leaves it out, `After` is a time."""


@dataclass(frozen=True)
class After:
    """A time relative to when the token is signed (seconds), as a number or as another type."""

    seconds: float
    kind: type = int


TOKEN: Mapping[str, Mapping[str, Any]] = {
    "nothing": {},
    "ES384": {"key": "p384"},
    "ES512": {"key": "p521"},
    "RS256": {"key": "rsa"},
    "PS384": {"key": "rsa", "signed_with": "PS384", "header": {"alg": "PS384"}},
    "no type": {"header": {"typ": ...}},
    "type JOSE": {"header": {"typ": "JOSE"}},
    "several audiences": {"claims": {"aud": ["other", AUDIENCE]}},
    "the audience as a text": {"claims": {"aud": AUDIENCE}},
    "no iat": {"claims": {"iat": ...}},
    "nbf in the past": {"claims": {"nbf": After(-30)}},
    "an expiry with .0": {"claims": {"exp": After(300, float)}},
    "claims of its own": {"claims": {"team": "x", "act": {"sub": "y"}}},
    "a subject in capitals": {"claims": {"sub": "SPIFFE://HOME.test/agent/a"}},
    "RS512 with RS256": {"key": "rsa", "header": {"alg": "RS512"}},
    "alg none": {"header": {"alg": "none"}},
    "alg HS256": {"header": {"alg": "HS256"}, "signed_with": "HS256"},
    "alg EdDSA": {"header": {"alg": "EdDSA"}},
    "alg in small letters": {"header": {"alg": "es256"}},
    "alg of another curve": {"header": {"alg": "ES384"}},
    "alg of another type": {"header": {"alg": "RS256"}},
    "alg missing": {"header": {"alg": ...}},
    "alg null": {"header": {"alg": None}},
    "alg as a list": {"header": {"alg": ["ES256"]}},
    "kid missing": {"header": {"kid": ...}},
    "kid empty": {"header": {"kid": ""}},
    "kid unknown": {"header": {"kid": "unknown"}},
    "kid of another key": {"header": {"kid": "p384"}},
    "kid as a number": {"header": {"kid": 1}},
    "kid null": {"header": {"kid": None}},
    "typ at+jwt": {"header": {"typ": "at+jwt"}},
    "typ in small letters": {"header": {"typ": "jwt"}},
    "typ empty": {"header": {"typ": ""}},
    "typ null": {"header": {"typ": None}},
    "typ as a number": {"header": {"typ": 1}},
    "crit unknown": {"header": {"crit": ["x"], "x": 1}},
    "crit empty": {"header": {"crit": []}},
    "crit b64": {"header": {"crit": ["b64"], "b64": True}},
    "b64 false": {"header": {"b64": False}},
    "a key in the header": {"header": {"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}},
    "a key URL in the header": {"header": {"jku": "https://keys.test"}},
    "a content type": {"header": {"cty": "JWT"}},
    "a header member of its own": {"header": {"x": [1]}},
    "a header member twice": {"header_text": '{"alg":"ES256","kid":"p256","kid":"p256"}'},
    "a header with space": {"header_text": ' {"alg": "ES256",\n"kid": "p256"} '},
    "a header in capitals": {"header_text": '{"ALG":"ES256","KID":"p256"}'},
    "a header that is a list": {"header_text": '["ES256"]'},
    "bytes after the header": {"header_text": '{"alg":"ES256","kid":"p256"}x'},
    "sub missing": {"claims": {"sub": ...}},
    "sub empty": {"claims": {"sub": ""}},
    "sub null": {"claims": {"sub": None}},
    "sub as a number": {"claims": {"sub": 1}},
    "sub no SPIFFE ID": {"claims": {"sub": "agent"}},
    "sub without a path": {"claims": {"sub": f"spiffe://{HOME}"}},
    "sub with a dot segment": {"claims": {"sub": f"spiffe://{HOME}/a/../b"}},
    "sub with a line end": {"claims": {"sub": AGENT + "\n"}},
    "sub too long": {"claims": {"sub": f"spiffe://{HOME}/" + "a" * 2048}},
    "sub of the other domain": {"claims": {"sub": f"spiffe://{AWAY}/agent/a"}},
    "sub of an unknown domain": {"claims": {"sub": "spiffe://unknown.test/a"}},
    "signed by the other domain": {"key": "away-p256", "header": {"kid": "p256"}},
    "the other domain's kid": {"key": "away-p256", "header": {"kid": "away"}},
    "aud missing": {"claims": {"aud": ...}},
    "aud empty": {"claims": {"aud": []}},
    "aud an empty text": {"claims": {"aud": ""}},
    "aud null": {"claims": {"aud": None}},
    "aud of another": {"claims": {"aud": ["other"]}},
    "aud as a number": {"claims": {"aud": 1}},
    "aud with a number": {"claims": {"aud": [AUDIENCE, 1]}},
    "aud with null": {"claims": {"aud": [AUDIENCE, None]}},
    "aud as an object": {"claims": {"aud": {AUDIENCE: 1}}},
    "aud in capitals": {"claims": {"aud": [AUDIENCE.upper()]}},
    "exp missing": {"claims": {"exp": ...}},
    "exp null": {"claims": {"exp": None}},
    "exp zero": {"claims": {"exp": 0}},
    "exp negative": {"claims": {"exp": -1}},
    "exp as a text": {"claims": {"exp": After(300, str)}},
    "exp true": {"claims": {"exp": True}},
    "exp with a fraction": {"claims": {"exp": After(300.5, float)}},
    "exp beyond what JSON can say": {"claims": {"exp": 1 << 60}},
    "exp beyond all bounds": {"claims": {"exp": 10**30}},
    "exp infinite": {"claims_text": '{"sub":$ID,"aud":["gateway"],"exp":1e999}'},
    "exp not a number": {"claims_text": '{"sub":$ID,"aud":["gateway"],"exp":NaN}'},
    "expired a moment ago": {"claims": {"exp": After(-20)}},
    "expired long ago": {"claims": {"exp": After(-200)}},
    "nbf soon": {"claims": {"nbf": After(30)}},
    "nbf later": {"claims": {"nbf": After(200)}},
    "nbf as a text": {"claims": {"nbf": After(-30, str)}},
    "nbf null": {"claims": {"nbf": None}},
    "nbf with a fraction": {"claims": {"nbf": After(-30.5, float)}},
    "iat soon": {"claims": {"iat": After(30)}},
    "iat later": {"claims": {"iat": After(200)}},
    "iat as a text": {"claims": {"iat": After(0, str)}},
    "iat null": {"claims": {"iat": None}},
    "iat negative": {"claims": {"iat": -1}},
    "jti as a number": {"claims": {"jti": 1}},
    "iss as a number": {"claims": {"iss": 1}},
    "jti null": {"claims": {"jti": None}},
    "iss null": {"claims": {"iss": None}},
    "a claim twice": {"claims_text": '{"sub":$ID,"aud":["gateway"],"exp":$EXP,"exp":$EXP}'},
    "claims in capitals": {"claims_text": '{"SUB":$ID,"AUD":["gateway"],"EXP":$EXP}'},
    "claims that are a list": {"claims_text": "[]"},
    "claims nested deeply": {
        "claims_text": '{"sub":$ID,"aud":["gateway"],"exp":$EXP,"x":' + "[" * 3000 + "]" * 3000 + "}"
    },
    "a lone surrogate": {"claims_text": '{"sub":$ID,"aud":["gateway"],"exp":$EXP,"x":"\\ud800"}'},
    "a subject twice in another case": {"claims_text": '{"sub":$ID,"Sub":"x","aud":["gateway"],"exp":$EXP}'},
    "space around it": {"around": " {} "},
    "a line end after it": {"around": "{}\n"},
    "space within it": {"edit": (".", " .")},
    "padding": {"edit": (".", "=.")},
    "a fourth part": {"around": "{}."},
    "no signature": {"cut": True},
    "bits left over at the end": {"bits": True},
    "more than is read": {"claims": {"x": "x" * 16_384}},
}
"""What is special about a token. The first dozen break no rule."""

_FITTING = {"p256": "ES256", "p384": "ES384", "p521": "ES512", "rsa": "RS256", "away-p256": "ES256"}


def bundles() -> dict[str, TrustBundle]:
    """Return the bundles of both domains."""
    return {
        HOME: TrustBundle(HOME, (), jwt_keys={name: key(name).public_key() for name in KEYS}),
        AWAY: TrustBundle(AWAY, (), jwt_keys={kid: key(name).public_key() for kid, name in AWAY_KEYS.items()}),
    }


def key_sets() -> dict[str, Any]:
    """Return the same as JSON Web Key Sets."""
    return {
        domain: {"keys": [{"use": "jwt-svid", "kid": kid, **public_jwk(public)} for kid, public in b.jwt_keys.items()]}
        for domain, b in bundles().items()
    }


def make(names: Iterable[str]) -> str:
    """Return a token, broken in each of these ways."""
    way: dict[str, Any] = {"key": "p256", "header": {}, "claims": {}}
    for name in names:
        for part, value in TOKEN[name].items():
            way[part] = {**way[part], **value} if isinstance(value, dict) else value
    return _arranged(_signed(way), way)


def _signed(way: Mapping[str, Any]) -> str:
    now, name = int(time.time()), way["key"]
    header = {"alg": _FITTING[name], "kid": name, "typ": "JWT", **way["header"]}
    claims = {"sub": AGENT, "aud": [AUDIENCE], "exp": now + 300, "iat": now, **way["claims"]}
    claims = {name: _at(now, value) for name, value in claims.items()}
    texts = (
        way.get("header_text") or _json(header),
        way.get("claims_text", "").replace("$ID", f'"{AGENT}"').replace("$EXP", str(now + 300)) or _json(claims),
    )
    data = ".".join(encode(text.encode()) for text in texts)
    algorithm = way.get("signed_with", "")
    if algorithm[:2] in {"RS", "PS"} and name != "rsa":
        algorithm = ""
    signing = jwt.get_algorithm_by_name(algorithm or _FITTING[name])
    secret = b"a secret of 32 bytes or some more" if algorithm.startswith("HS") else key(name)
    return f"{data}.{encode(signing.sign(data.encode(), secret))}"


def _arranged(token: str, way: Mapping[str, Any]) -> str:
    if "edit" in way:
        token = token.replace(*way["edit"], 1)
    if "cut" in way:
        token = token[: token.rindex(".") + 1]
    if "bits" in way:
        token = token[:-1] + chr(ord(token[-1]) + 1)  # a signature of 64 bytes ends with A, Q, g or w
    return str(way.get("around", "{}")).format(token)


def _at(now: int, value: Member) -> Member:
    return value.kind(now + value.seconds) if isinstance(value, After) else value


def _json(members: Mapping[str, Member]) -> str:
    return json.dumps({name: value for name, value in members.items() if value is not ...})
