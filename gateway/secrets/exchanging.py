"""Exchanges a JWT-SVID of the gateway for a credential of a cloud: no key of that cloud is kept anywhere.

AWS STS AssumeRoleWithWebIdentity (API reference 2011-06-15); Microsoft Entra ID, client credentials with a federated
client assertion (RFC 7523, section 2.2); Google workload identity federation (RFC 8693) and its service accounts.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

from gateway.clock import NANOSECONDS, Clock
from gateway.config.vault import Exchange
from gateway.secrets.fetched import Fetched, SecretSourceError
from gateway.secrets.store import Secret
from identity.fetching import FetchAnswer, FetchError, fetch_answer, tls_context

MAX_BYTES = 262_144
"""Largest answer taken (bytes)."""

TIMEOUT_SECONDS = 10.0

_STATUSES = frozenset({200, 400, 401, 403, 404, 429, 500, 502, 503})
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_ENTRA_CODE = re.compile(r"AADSTS[0-9]{4,9}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_FORM = "application/x-www-form-urlencoded"
_IAM = "https://iamcredentials.googleapis.com"


def audience_of(settings: Exchange) -> str:
    """Return the audience that the JWT-SVID has."""
    defaults = {"aws-sts": "sts.amazonaws.com", "entra": "api://AzureADTokenExchange"}
    return settings.audience or defaults[settings.kind]


async def exchange(settings: Exchange, svid: str, clock: Clock) -> Fetched:
    """Return what an exchange gives: `access_key`, `secret_key` and `session_token` (aws-sts), else `access_token`.

    Args:
        settings: the exchange.
        svid: a JWT-SVID with its audience.
        clock: UNIX nanoseconds, where an answer does not say what time it is there.

    Raises:
        SecretSourceError: it gives nothing.
    """
    match settings.kind:
        case "aws-sts":
            return await _aws(settings, svid, clock)
        case "entra":
            return await _entra(settings, svid)
        case "google":
            return await _google(settings, svid, clock)


async def _aws(settings: Exchange, svid: str, clock: Clock) -> Fetched:
    url = settings.url or f"https://sts.{settings.region}.amazonaws.com/"
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": settings.role_arn,
        "RoleSessionName": "govgateway",
        "WebIdentityToken": svid,
        "DurationSeconds": str(settings.duration_seconds),
    }
    answer = await _ask(settings, url, urlencode(form).encode(), {"content-type": _FORM, "accept": "text/xml"})
    document = _xml(settings, answer)
    if answer.status != 200:
        raise _refused(settings, answer.status, document.get("Code", ""))
    names = {"access_key": "AccessKeyId", "secret_key": "SecretAccessKey", "session_token": "SessionToken"}
    fields = {name: _token(settings, document.get(element)) for name, element in names.items()}
    left = _seconds_until(settings, document.get("Expiration"), answer, clock)
    return Fetched(fields, lifetime_seconds=min(left, float(settings.duration_seconds)))


async def _entra(settings: Exchange, svid: str) -> Fetched:
    url = settings.url or f"https://login.microsoftonline.com/{settings.tenant}/oauth2/v2.0/token"
    form = {
        "client_id": settings.client_id,
        "scope": settings.scope,
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": svid,
    }
    answer = await _ask(settings, url, urlencode(form).encode(), {"content-type": _FORM})
    return _bearer(settings, answer)


async def _google(settings: Exchange, svid: str, clock: Clock) -> Fetched:
    asked = {
        "grantType": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": settings.audience,
        "scope": settings.scope,
        "requestedTokenType": "urn:ietf:params:oauth:token-type:access_token",
        "subjectToken": svid,
        "subjectTokenType": "urn:ietf:params:oauth:token-type:jwt",
    }
    url = settings.url or "https://sts.googleapis.com/v1/token"
    federated = _bearer(settings, await _ask(settings, url, json.dumps(asked).encode(), _JSON))
    if not settings.service_account:
        return federated
    base = (settings.impersonation_url or _IAM).rstrip("/")
    act_as = f"{base}/v1/projects/-/serviceAccounts/{settings.service_account}:generateAccessToken"
    bearer = {**_JSON, "authorization": f"Bearer {federated.fields['access_token'].reveal().decode()}"}
    answer = await _ask(settings, act_as, json.dumps({"scope": settings.scope.split()}).encode(), bearer)
    document = _json(settings, answer)
    if answer.status != 200:
        error = document.get("error")
        raise _refused(settings, answer.status, str(error.get("status", "")) if isinstance(error, dict) else "")
    left = _seconds_until(settings, document.get("expireTime"), answer, clock)
    lifetime = min(left, federated.lifetime_seconds or left)
    return Fetched({"access_token": _token(settings, document.get("accessToken"))}, lifetime_seconds=lifetime)


_JSON = {"content-type": "application/json"}


def _bearer(settings: Exchange, answer: FetchAnswer) -> Fetched:
    """Return the token of an OAuth 2.0 answer (RFC 6749, section 5.1)."""
    document = _json(settings, answer)
    if answer.status != 200:
        entra = _ENTRA_CODE.search(str(document.get("error_description", "")))
        raise _refused(settings, answer.status, entra[0] if entra else str(document.get("error", "")))
    seconds = document.get("expires_in")
    if isinstance(seconds, str) and seconds.isdecimal():
        seconds = int(seconds)
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 < seconds < 10**7:
        raise _garbage(settings, "expires_in is no number of seconds")
    fields = {"access_token": _token(settings, document.get("access_token"))}
    return Fetched(fields, lifetime_seconds=float(seconds))


async def _ask(settings: Exchange, url: str, body: bytes, headers: Mapping[str, str]) -> FetchAnswer:
    try:
        answer = await fetch_answer(
            url, tls_context(settings.ca_file), method="POST", headers=headers, content=body, statuses=_STATUSES,
            max_bytes=MAX_BYTES, timeout_seconds=TIMEOUT_SECONDS,
        )  # fmt: skip
    except FetchError as error:
        raise SecretSourceError(
            f"exchange {settings.name}: {error}", "secret_unavailable", "Correct its url, or see whether it is up."
        ) from error
    if answer.status >= 500 or answer.status == 429:
        raise SecretSourceError(f"exchange {settings.name}: it answered {answer.status}", "secret_unavailable")
    return answer


def _json(settings: Exchange, answer: FetchAnswer) -> dict[str, Any]:
    try:
        document = json.loads(answer.body)
    except ValueError:
        raise _garbage(settings, "its answer is no JSON") from None
    if not isinstance(document, dict):
        raise _garbage(settings, "its answer is no JSON object")
    return document


def _xml(settings: Exchange, answer: FetchAnswer) -> dict[str, str]:
    """Return the texts of an answer of STS by the names of their elements."""
    if b"<!" in answer.body:  # neither a document type nor entities: nothing in it may grow when it is read
        raise _garbage(settings, "its answer has a document type")
    try:
        root = ElementTree.fromstring(answer.body)  # noqa: S314 - without a document type, refused above, nothing grows
    except ElementTree.ParseError:
        raise _garbage(settings, "its answer is no XML") from None
    return {each.tag.rpartition("}")[2]: (each.text or "").strip() for each in root.iter()}


def _token(settings: Exchange, value: object) -> Secret:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise _garbage(settings, "what it gave is missing, or is nothing that a header field takes")
    return Secret(value.encode())


def _seconds_until(settings: Exchange, moment: object, answer: FetchAnswer, clock: Clock) -> float:
    """Return how far a moment is from the time that the answer itself says it is, so that our clock does not matter."""
    try:
        end = datetime.fromisoformat(str(moment)).astimezone(UTC)
    except ValueError:
        raise _garbage(settings, "the end of what it gave is no time") from None
    now = datetime.fromtimestamp(clock() / NANOSECONDS, UTC)
    with suppress(KeyError, ValueError, TypeError):
        now = parsedate_to_datetime(answer.headers["date"])
    left = (end - now).total_seconds()
    if left <= 0:
        raise _garbage(settings, "what it gave has ended already")
    return left


def _refused(settings: Exchange, status: int, code: str) -> SecretSourceError:
    named = code if _CODE.fullmatch(code) else "no code"
    return SecretSourceError(
        f"exchange {settings.name}: it refuses the gateway ({status}, {named})",
        "secret_denied",
        f"Let it trust the gateway's SPIFFE ID as subject and {audience_of(settings)} as audience.",
    )


def _garbage(settings: Exchange, cause: str) -> SecretSourceError:
    return SecretSourceError(f"exchange {settings.name}: {cause}", "secret_unusable", "See whether its url is right.")
