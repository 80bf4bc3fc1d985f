"""What tests set up on a real OpenBao: secrets, policies that allow just that, and roles that log in to them."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from identity.jwk import parse_public_jwk
from tests.support.openbao_server import OpenBaoServer
from tests.support.postgres_server import PostgresServer
from tests.support.token_review import TokenReviewStandIn


class OpenBao(OpenBaoServer):
    """A server, and what its root sets up on it. Lifetimes are OpenBao's durations, for instance `10m`."""

    def enable_kv(self, path: str = "secret", version: int = 2) -> None:
        """Mount a key-value engine and wait until it takes values."""
        self.root.sys.enable_secrets_engine("kv", path=path, options={"version": str(version)})
        if version == 2:  # it upgrades itself first, and refuses everything meanwhile
            self._wait_until(lambda: self.root.read(f"{path}/config"), f"serves {path}")

    def put(self, path: str, mount: str = "secret", **fields: str) -> int:
        """Write a secret; return its version, 0 where the engine counts none."""
        kind = self.root.sys.list_mounted_secrets_engines()["data"][f"{mount}/"]["options"]
        if kind["version"] == "1":
            self._write(f"{mount}/{path}", **fields)
            return 0
        return int(self._write(f"{mount}/data/{path}", data=fields)["data"]["version"])

    def policy(self, name: str, rules: str) -> None:
        """Write a policy, in OpenBao's own language."""
        self.root.sys.create_or_update_policy(name, rules)

    def token(self, policies: Sequence[str], ttl: str, *, renewable: bool = True) -> str:
        """Make a token."""
        made = self.root.auth.token.create(policies=list(policies), ttl=ttl, renewable=renewable)
        return str(made["auth"]["client_token"])

    def jwt_role(
        self,
        name: str,
        audience: str,
        subject: str,
        jwks: Mapping[str, Any],
        policies: Sequence[str],
        ttl: str = "10m",
        *,
        mount: str = "jwt",
    ) -> None:
        """Let JWTs of one subject and audience log in. The keys in `jwks` replace those that the mount had."""
        self._enable_auth("jwt", mount)
        keys = [parse_public_jwk(jwk) for jwk in jwks["keys"] if jwk.get("use") != "x509-svid"]
        pems = [key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode() for key in keys]
        self._write(f"auth/{mount}/config", jwt_validation_pubkeys=pems)
        self._write(
            f"auth/{mount}/role/{name}",
            role_type="jwt",
            user_claim="sub",
            bound_audiences=[audience],
            bound_subject=subject,
            **_token(policies, ttl),
        )

    def cert_role(
        self, name: str, ca_pem: str, uri_san: str, policies: Sequence[str], ttl: str = "10m", *, mount: str = "cert"
    ) -> None:
        """Let certificates below `ca_pem` with one URI, the SPIFFE ID, log in."""
        self._enable_auth("cert", mount)
        self._write(
            f"auth/{mount}/certs/{name}", certificate=ca_pem, allowed_uri_sans=[uri_san], **_token(policies, ttl)
        )

    def approle(
        self, name: str, policies: Sequence[str], ttl: str = "10m", *, secret_id_ttl: str = "", mount: str = "approle"
    ) -> tuple[str, str]:
        """Make a role and return its role ID and a secret ID, which lasts for ever without `secret_id_ttl`."""
        self._enable_auth("approle", mount)
        role = f"auth/{mount}/role/{name}"
        self._write(role, secret_id_ttl=secret_id_ttl or "0", **_token(policies, ttl))
        role_id = self.root.read(f"{role}/role-id")["data"]["role_id"]
        return str(role_id), str(self._write(f"{role}/secret-id")["data"]["secret_id"])

    def kubernetes_role(
        self,
        name: str,
        api: TokenReviewStandIn,
        namespace: str,
        service_account: str,
        policies: Sequence[str],
        ttl: str = "10m",
        *,
        audience: str = "openbao",
        mount: str = "kubernetes",
    ) -> None:
        """Let tokens of one service account and audience log in, as often as `api` says that they are good."""
        self._enable_auth("kubernetes", mount)
        self._write(
            f"auth/{mount}/config",
            kubernetes_host=api.url,
            kubernetes_ca_cert=api.ca_pem,
            token_reviewer_jwt=api.reviewer_token,
        )
        self._write(
            f"auth/{mount}/role/{name}",
            bound_service_account_namespaces=[namespace],
            bound_service_account_names=[service_account],
            audience=audience,
            **_token(policies, ttl),
        )

    def postgres_engine(
        self,
        server: PostgresServer,
        role: str,
        ttl: str = "10m",
        *,
        max_ttl: str = "",
        grants: Sequence[str] = (),
        mount: str = "database",
    ) -> None:
        """Let `<mount>/creds/<role>` make users of a running PostgreSQL that end with their lease.

        `grants` are what each gets, for instance `SELECT ON documents`. From then on the server asks for passwords.
        """
        owner, password = f"openbao-{role}", secrets.token_urlsafe(24)
        server.execute(f"CREATE ROLE \"{owner}\" LOGIN SUPERUSER PASSWORD '{password}'")
        server.require_passwords()
        self._enable_engine("database", mount)
        self._write(
            f"{mount}/config/{role}",
            plugin_name="postgresql-database-plugin",
            connection_url=f"postgresql://{{{{username}}}}:{{{{password}}}}@/postgres?host={server.directory}",
            username=owner,
            password=password,
            password_authentication="scram-sha-256",
            allowed_roles=[role],
        )
        login = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"
        self._write(
            f"{mount}/roles/{role}",
            db_name=role,
            creation_statements=[login, *(f'GRANT {grant} TO "{{{{name}}}}"' for grant in grants)],
            default_ttl=ttl,
            max_ttl=max_ttl or ttl,
        )

    def pki(
        self, trust_domain: str = "example.org", *, role: str = "client", max_ttl: str = "1h", mount: str = "pki"
    ) -> str:
        """Make the root of a trust domain; return its certificate, PEM.

        `<mount>/issue/<role>` issues client certificates for SPIFFE IDs of the trust domain, and
        `<mount>/root/sign-intermediate` signs whatever intermediate is asked for.
        """
        self._enable_engine("pki", mount, max_lease_ttl="8760h")
        root = self._write(
            f"{mount}/root/generate/internal",
            common_name=f"root of {trust_domain}",
            exclude_cn_from_sans=True,
            uri_sans=f"spiffe://{trust_domain}",
            key_type="ec",
            key_bits=256,
            ttl="8760h",
        )
        self._write(
            f"{mount}/roles/{role}",
            allowed_uri_sans=[f"spiffe://{trust_domain}/*"],
            allow_ip_sans=False,
            allow_localhost=False,
            require_cn=False,
            client_flag=True,
            server_flag=False,
            key_usage=["DigitalSignature"],
            key_type="ec",
            key_bits=256,
            max_ttl=max_ttl,
        )
        return str(root["data"]["certificate"])

    def transit_key(self, name: str, kind: str, *, mount: str = "transit") -> None:
        """Make a key that never leaves: `ed25519`, `ecdsa-p256` and so on."""
        self._enable_engine("transit", mount)
        self._write(f"{mount}/keys/{name}", type=kind)

    def _enable_engine(self, kind: str, mount: str, **config: str) -> None:
        if f"{mount}/" not in self.root.sys.list_mounted_secrets_engines()["data"]:
            self.root.sys.enable_secrets_engine(kind, path=mount, config=config)

    def _enable_auth(self, method: str, mount: str) -> None:
        if f"{mount}/" not in self.root.sys.list_auth_methods()["data"]:
            self.root.sys.enable_auth_method(method, path=mount)

    def _write(self, path: str, **fields: Any) -> Any:
        """Write to a path; return the answer, None where it has no body."""
        answer = self.root.write_data(path, data=fields)
        return answer if isinstance(answer, dict) else None


def _token(policies: Sequence[str], ttl: str) -> dict[str, Any]:
    """Return how a role says what its tokens may do, and for how long: not longer by renewing."""
    return {"token_policies": list(policies), "token_ttl": ttl, "token_max_ttl": ttl}
