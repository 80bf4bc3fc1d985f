"""What Vault's answers mean: the values of a path, or why there are none."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import hvac.exceptions
import requests

from gateway.secrets.fetched import Fetched, SecretSourceError
from gateway.secrets.store import Secret
from gateway.secrets.vault.places import VaultPlace
from gateway.secrets.vault.transport import AnswerTooLargeError

MAX_VALUE_BYTES = 65_536
"""Largest value (bytes)."""


class AwayError(Exception):
    """One address does not serve: another one may."""


def fetched_of(place: VaultPlace, answer: Any, now: float) -> Fetched:
    """Return what an answer gives.

    Args:
        place: what was asked for.
        answer: the whole answer, as JSON.
        now: UNIX seconds.

    Raises:
        SecretSourceError: it is not what such a path answers.
    """
    outer = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(outer, dict):
        raise unusable(place, "Vault answered without data")
    if place.engine == "kv-v2":
        inner, metadata = outer.get("data"), outer.get("metadata")
        if not isinstance(inner, dict) or not isinstance(metadata, dict):
            raise unusable(place, "it is no KV version 2; is the engine of its mount right in secrets.vault.mounts?")
        fields, others = _fields(place, inner)
        return Fetched(fields, int(metadata.get("version", 0)), since=_since(metadata), others=others)
    fields, others = _fields(place, outer)
    seconds = answer.get("lease_duration")
    lifetime = float(seconds) if isinstance(seconds, int) and seconds > 0 else None
    if place.engine == "pki":
        expiration = outer.get("expiration")
        if isinstance(expiration, int):
            lifetime = max(0.0, expiration - now)
        return Fetched(_with_chain(fields, outer), lifetime_seconds=lifetime, since=int(now), others=others)
    if place.engine == "kv-v1":  # its lease_duration is a wish to be asked again, not an end
        return Fetched(fields, others=others)
    lease = str(answer.get("lease_id") or "")
    return Fetched(fields, 0, lease, lifetime, bool(answer.get("renewable")), int(now), others)


def refusal_of(place: VaultPlace | None, what: str, error: Exception) -> SecretSourceError:
    """Return what an error of the client means. Its text is Vault's, and never of a value.

    Raises:
        AwayError: it means that this address does not serve.
    """
    if isinstance(error, AnswerTooLargeError):
        return SecretSourceError(f"{what}: {error}", "secret_unusable", "Keep what is so large somewhere else.")
    if isinstance(error, requests.RequestException):
        raise AwayError(_network_cause(error)) from error
    said = "; ".join(str(each) for each in getattr(error, "errors", None) or ())[:300]
    match error:
        case hvac.exceptions.Forbidden() | hvac.exceptions.Unauthorized():
            return SecretSourceError(
                f"{what}: Vault refuses it to the gateway ({said or 'permission denied'})",
                "secret_denied",
                "Give the gateway's policy in Vault that path; govctl secret doctor prints the policy it needs.",
            )
        case hvac.exceptions.InvalidPath():
            return SecretSourceError(f"{what}: {_missing(place, error, said)}", "secret_missing", "Put it there.")
        case hvac.exceptions.InvalidRequest():
            return SecretSourceError(
                f"{what}: Vault does not take the request ({said or 'invalid request'})",
                "secret_denied",
                "govctl secret doctor tells what is wrong.",
                refused_input=True,
            )
        case hvac.exceptions.VaultDown():
            raise AwayError(f"it is sealed or has no leader ({said or 'status 503'})") from error
        case hvac.exceptions.VaultNotInitialized():
            raise AwayError("it is not initialised") from error
    raise AwayError(said or f"it failed ({type(error).__name__})") from error


def unusable(place: VaultPlace, cause: str) -> SecretSourceError:
    """Return the error for something that is there and cannot be used."""
    return SecretSourceError(f"{place.mount}/{place.path}: {cause}", "secret_unusable", "Put a usable value there.")


def _fields(place: VaultPlace, values: Mapping[str, Any]) -> tuple[dict[str, Secret], frozenset[str]]:
    fields = {name: Secret(value.encode()) for name, value in values.items() if isinstance(value, str) and value}
    for name, value in fields.items():
        if len(value) > MAX_VALUE_BYTES:
            raise unusable(place, f"the field {name[:128]} has more than {MAX_VALUE_BYTES} bytes")
    return fields, frozenset(values) - frozenset(fields)


def _with_chain(fields: dict[str, Secret], data: Mapping[str, Any]) -> dict[str, Secret]:
    """Return the fields with the chain as one: the certificate, then those that signed it."""
    chain = [data.get("certificate"), *(data.get("ca_chain") or [])]
    if all(isinstance(each, str) for each in chain):
        fields["chain"] = Secret("\n".join(each.strip() for each in chain).encode() + b"\n")
    return fields


def _since(metadata: Mapping[str, Any]) -> int | None:
    try:
        return int(datetime.fromisoformat(str(metadata["created_time"])[:19] + "+00:00").timestamp())
    except (KeyError, ValueError):
        return None


def _missing(place: VaultPlace | None, error: Exception, said: str) -> str:
    document = getattr(error, "json", None)
    metadata = (document or {}).get("data", {}) if isinstance(document, dict) else {}
    metadata = metadata.get("metadata", {}) if isinstance(metadata, dict) else {}
    if metadata.get("destroyed"):
        return f"version {metadata.get('version')} was destroyed"
    if metadata.get("deletion_time"):
        return f"version {metadata.get('version')} was deleted at {metadata['deletion_time']}"
    if place is not None and place.version is not None:
        return f"there is no version {place.version} of it, or nothing at all"
    return f"nothing is there{f' ({said})' if said else ''}"


def _network_cause(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return f"its certificate is not trusted or TLS failed ({_reason(error)})"
    if isinstance(error, requests.exceptions.Timeout):
        return "it did not answer in time"
    if isinstance(error, requests.exceptions.ConnectionError):
        return f"it cannot be reached ({_reason(error)})"
    return str(error)[:300]


def _reason(error: BaseException) -> str:
    """Return the innermost cause, in one line."""
    inner: BaseException = error
    for _ in range(8):
        further = getattr(inner, "reason", None) or next((a for a in inner.args if isinstance(a, BaseException)), None)
        if not isinstance(further, BaseException):
            break
        inner = further
    return str(inner.args[-1] if inner.args else type(inner).__name__).replace("\n", " ")[:200]
