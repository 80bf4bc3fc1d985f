"""The one client of Vault: asks the addresses in turn, keeps itself logged in, and says plainly what is wrong.

Blocking, and safe to be used from several threads. Only the process that logged in has the token.
"""

import logging
import math
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import hvac
import hvac.exceptions
import requests

from gateway.config.vault import Vault
from gateway.listener.tls import load_key_pair
from gateway.secrets.fetched import Fetched, SecretSourceError
from gateway.secrets.store import Secret
from gateway.secrets.vault.answers import AwayError, fetched_of, refusal_of, unusable
from gateway.secrets.vault.login import Proof, Token, show_proof
from gateway.secrets.vault.places import VaultPlace
from gateway.secrets.vault.transport import open_session

_log = logging.getLogger("govgateway.secrets")
"""Of the standard library: what a command prints on standard output is its own, and the gateway has this in its log."""

RENEW_SHARE = 2 / 3
"""Share of a token's life after which it is renewed."""

TOO_SHORT_SHARE = 1 / 2
"""A renewal that gives less than this share of the first life comes near the token's last end: a login follows."""

_T = TypeVar("_T")


class VaultClient:
    """Asks one Vault.

    Args:
        settings: where it is and how to log in; addresses are set.
        proof: what the login shows.
        clock: monotonic seconds.
        now: UNIX seconds.
    """

    def __init__(
        self,
        settings: Vault,
        proof: Proof,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        if settings.login is None:
            raise ValueError("a Vault without login")
        self._settings = settings
        self._login = settings.login
        self._proof = proof
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._logins = 0
        self._preferred = settings.addresses[0]
        self._sessions: dict[str, requests.Session] = {}
        self._shown: bytes | None = None

    @property
    def logins(self) -> int:
        """How often it logged in. What was leased under an earlier login ends with that login's token."""
        return self._logins

    @property
    def address(self) -> str:
        """The address that answered last."""
        return self._preferred

    def read(self, place: VaultPlace) -> Fetched:
        """Return every value of a path.

        Raises:
            SecretSourceError: Vault does not give them.
        """
        what = f"{place.mount}/{place.path}"
        answer = self._ask(lambda client: _read(client, place), what, place)
        if not isinstance(answer, dict):
            raise unusable(place, "Vault answered with something else than JSON")
        return fetched_of(place, answer, self._now())

    def write(self, path: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send an operation to a path; return the `data` of the answer.

        Raises:
            SecretSourceError: Vault does not carry it out.
        """
        answer = self._ask(lambda client: client.write_data(path, data=dict(data)), path)
        return _data(answer)

    def get(self, path: str) -> Mapping[str, Any]:
        """Return the `data` of a path's answer. Raises as `write`."""
        return _data(self._ask(lambda client: client.read(path) or _nothing(path), path))

    def delete(self, path: str) -> None:
        """Delete what is at a path. Raises as `write`."""
        self._ask(lambda client: client.delete(path), path)

    def keys(self, path: str) -> list[str]:
        """Return the names below a path; none where nothing is. Raises as `write`."""
        return [str(each) for each in _data(self._ask(lambda client: client.list(path) or {}, path)).get("keys", [])]

    def renew(self, lease_id: str) -> float:
        """Prolong a lease; return how long it is good from now on (seconds). Raises as `read`."""
        answer = self._ask(lambda client: _renewed(client, lease_id), "the renewal of a lease")
        seconds = answer.get("lease_duration") if isinstance(answer, dict) else None
        if not isinstance(seconds, int):
            raise SecretSourceError("Vault answered the renewal of a lease with something else", "secret_unusable")
        return float(seconds)

    def revoke(self, lease_id: str) -> None:
        """End a lease. Raises as `read`."""
        self._ask(lambda client: _revoked(client, lease_id), "the revocation of a lease")

    def health(self) -> dict[str, Mapping[str, Any]]:
        """Return what each address says of itself, without a login; `{"error": …}` where it says nothing."""
        found: dict[str, Mapping[str, Any]] = {}
        for address in self._settings.addresses:
            client = self._client(address, "")
            try:
                answer = client.sys.read_health_status(method="GET")
                body = answer if isinstance(answer, dict) else answer.json()
                found[address] = body if isinstance(body, dict) else {"error": "it answered something else than JSON"}
            except ValueError:
                found[address] = {"error": "it answered something else than JSON"}
            except (requests.RequestException, hvac.exceptions.VaultError) as error:
                try:
                    found[address] = {"error": str(refusal_of(None, "its health", error))}
                except AwayError as away:
                    found[address] = {"error": str(away)}
        return found

    def token_state(self) -> Mapping[str, Any]:
        """Return what Vault says of the token: policies, time to live, renewable. Raises as `read`."""
        return _data(self._ask(lambda client: client.auth.token.lookup_self(), "auth/token/lookup-self"))

    def tend(self) -> None:
        """Renew the token if it is due, or log in anew. Raises as `read`."""
        self._logged_in(None)

    def close(self) -> None:
        """Give the token back, which ends everything leased under it; a token that somebody made is left alone."""
        with self._lock:
            token, self._token = self._token, None
        if token is not None and self._login.method != "token":
            try:
                self._client(self._preferred, token.value.reveal().decode()).auth.token.revoke_self()
            except (requests.RequestException, hvac.exceptions.VaultError) as error:
                _log.warning("vault-token-not-revoked: %s", type(error).__name__)
        for session in self._sessions.values():
            session.close()

    # asking

    def _ask(self, call: Callable[[hvac.Client], _T], what: str, place: VaultPlace | None = None) -> _T:
        """Carry out a call; one that is refused is tried once more after another login, in case the token ended."""
        token = self._logged_in(None)
        try:
            return self._each(call, what, place, token)
        except SecretSourceError as error:
            if error.code != "secret_denied" or not self._ended(token):
                raise
        return self._each(call, what, place, self._logged_in(token))

    def _ended(self, token: Token) -> bool:
        """Return whether Vault does not know a token any more."""
        try:
            self._each(lambda client: client.auth.token.lookup_self(), "auth/token/lookup-self", None, token)
        except SecretSourceError as error:
            return error.code == "secret_denied"
        return False

    def _each(self, call: Callable[[hvac.Client], _T], what: str, place: VaultPlace | None, token: Token | None) -> _T:
        """Try the addresses, the one that answered last first."""
        causes: list[str] = []
        addresses = self._settings.addresses
        shown = token.value.reveal().decode() if token is not None else ""
        for address in sorted(addresses, key=lambda each: each != self._preferred):
            try:
                answer = self._once(call, address, shown, what, place)
            except AwayError as away:
                causes.append(f"{address}: {away}")
            else:
                self._preferred = address
                return answer
        raise SecretSourceError(
            f"{what}: no address of Vault serves: {'; '.join(causes)}",
            "secret_unavailable",
            "Unseal Vault, or correct secrets.vault; govctl secret doctor tells which.",
        )

    def _once(
        self, call: Callable[[hvac.Client], _T], address: str, shown: str, what: str, place: VaultPlace | None
    ) -> _T:
        """Ask one address; raises AwayError where it does not serve."""
        try:
            answer = call(self._client(address, shown))
        except (requests.RequestException, hvac.exceptions.VaultError) as error:
            raise refusal_of(place, what, error) from error
        if isinstance(answer, requests.Response) and answer.status_code == 200:
            raise AwayError("it answered something else than JSON")
        return answer

    def _client(self, address: str, token: str) -> hvac.Client:
        session = self._sessions.get(address)
        if session is None:
            session = self._sessions[address] = open_session(self._context(), self._settings.timeout_seconds)
        return hvac.Client(
            url=address,
            token=token,
            verify=True,
            timeout=math.ceil(self._settings.timeout_seconds),  # the session has the exact one
            allow_redirects=False,
            session=session,
            namespace=self._settings.namespace or None,
        )

    def _context(self) -> ssl.SSLContext:
        ca_file = self._settings.ca_file
        try:
            context = ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self._shown is not None:
                chain, _, key = self._shown.partition(b"\0")
                load_key_pair(context, chain, key)
        except (ssl.SSLError, OSError) as error:
            raise SecretSourceError(
                f"secrets.vault.ca_file: {ca_file or 'the system CA certificates'} cannot be used: {error}",
                "secret_unavailable",
            ) from error
        return context

    # the token

    def _logged_in(self, refused: Token | None) -> Token:
        """Return a token that is good: the one at hand, renewed, or of a new login.

        Args:
            refused: a token that Vault does not take any more.
        """
        with self._lock:
            token = self._token
            if token is None or token is refused:
                self._token = token = self._log_in()
            elif (seconds := token.seconds) is not None:
                age = self._clock() - token.taken
                if age >= seconds:
                    self._token = token = self._log_in()
                elif age >= seconds * RENEW_SHARE:
                    self._token = token = self._prolonged(token)
            return token

    def _prolonged(self, token: Token) -> Token:
        """Return the token renewed, or that of a new login where its last end is near."""
        taken = self._clock()
        if token.renewable:
            try:
                answer = self._each(
                    lambda client: client.auth.token.renew_self(), "the renewal of the token", None, token
                )
                auth = answer.get("auth") if isinstance(answer, dict) else None
                seconds = auth.get("lease_duration") if isinstance(auth, dict) else None
                if isinstance(seconds, int) and seconds >= (token.seconds or 0) * TOO_SHORT_SHARE:
                    return Token(token.value, float(seconds), taken, token.renewable, token.number)
            except SecretSourceError as error:
                if error.code == "secret_unavailable":
                    return token  # it is good for the rest of its life
        try:
            return self._log_in()
        except SecretSourceError as error:
            _log.warning("vault-login-failed: %s", error)
            return token

    def _log_in(self) -> Token:
        if self._login.method == "cert":
            chain, key = self._proof.x509_svid()
            shown = chain + b"\0" + key
            if shown != self._shown:
                for session in self._sessions.values():
                    session.close()
                self._shown = shown
                self._sessions.clear()
        taken = self._clock()
        what = f"the login by {self._login.method}"
        auth = self._each(lambda client: show_proof(client, self._login, self._proof), what, None, None)
        token, seconds = auth.get("client_token"), auth.get("lease_duration")
        if not isinstance(token, str) or not token or not isinstance(seconds, int):
            raise SecretSourceError(f"{what}: Vault gave no token", "secret_unavailable")
        self._logins += 1
        _log.info("vault-login: by %s, for %s seconds", self._login.method, seconds)
        return Token(Secret(token.encode()), float(seconds) or None, taken, bool(auth.get("renewable")), self._logins)


def _read(client: hvac.Client, place: VaultPlace) -> Any:
    if place.engine == "kv-v2":
        return client.secrets.kv.v2.read_secret_version(
            place.path, version=place.version, mount_point=place.mount, raise_on_deleted_version=True
        )
    if place.engine == "kv-v1":
        return client.secrets.kv.v1.read_secret(place.path, mount_point=place.mount)
    path = f"{place.mount}/{place.path}"
    if place.engine == "pki":
        return client.write_data(path, data=dict(place.asked))
    return client.read(path) or _nothing(path)


def _renewed(client: hvac.Client, lease_id: str) -> Any:
    return client.sys.renew_lease(lease_id)  # type: ignore[no-untyped-call]


def _revoked(client: hvac.Client, lease_id: str) -> Any:
    return client.sys.revoke_lease(lease_id)  # type: ignore[no-untyped-call]


def _nothing(path: str) -> Any:
    raise hvac.exceptions.InvalidPath(f"{path} has nothing")


def _data(answer: Any) -> Mapping[str, Any]:
    if isinstance(answer, requests.Response):  # 204: done, and nothing to say
        return {}
    data = answer.get("data") if isinstance(answer, dict) else None
    return data if isinstance(data, dict) else {}
