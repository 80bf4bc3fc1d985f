"""The OpenBao of `make demo SECRETS=vault`: one server on this machine, with TLS, that ends with the demo."""

import datetime
import ipaddress
import json
import secrets
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

BIN = Path(sys.executable).parent
SETUP = Path(__file__).resolve().parents[1] / "vault" / "setup.sh"
REFERENCE = "vault://secret/backends/example#key"
READY_SECONDS = 60

CONFIGURATION = """\
storage "raft" {{
  path = "{0}/raft"
  node_id = "demo"
}}
listener "tcp" {{
  address = "127.0.0.1:{1}"
  tls_cert_file = "{0}/server.pem"
  tls_key_file = "{0}/server.key"
}}
audit "file" "file" {{
  options {{
    file_path = "{0}/audit.log"
  }}
}}
api_addr = "https://127.0.0.1:{1}"
cluster_addr = "https://127.0.0.1:{2}"
"""

OPERATOR = 'path "secret/data/backends/*" { capabilities = ["create", "update"] }'


class Typing(Protocol):
    """What types the commands: the demo."""

    def step(self, text: str) -> None: ...
    def run(self, *command: str, expect: int = 0, env: dict[str, str] | None = None) -> str: ...
    def start(self, *command: str, log: Path) -> Any: ...


class DemoVault:
    """A server, and the key that the example server asks for.

    Attributes:
        key_file: what the example server compares calls with.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._vault = directory / "vault"
        (self._vault / "raft").mkdir(parents=True)
        self.key_file = directory / "model.key"
        self._operator = ""
        self._port, cluster = _free_port(), _free_port()
        self._address = f"https://127.0.0.1:{self._port}"
        _make_certificates(self._vault)
        (self._vault / "openbao.hcl").write_text(CONFIGURATION.format(self._vault, self._port, cluster))
        self._new_key()

    def set_up(self, demo: Typing) -> None:
        """Start it, put the key in, let the gateway in, and name the key in its configuration."""
        demo.step("An OpenBao of its own, with TLS. The model server's key goes in there, and nowhere else.")
        demo.start("bao", "server", "-config", str(self._vault / "openbao.hcl"), log=self._directory / "openbao.log")
        root = self._open()
        self._bao(root, "secrets", "enable", "-path=secret", "-version=2", "kv")
        self._bao(root, "policy", "write", "operator", "-", given=OPERATOR)
        made = self._bao(root, "token", "create", "-orphan", "-policy=operator", "-ttl=8h", "-format=json")
        self._operator = json.loads(made)["auth"]["client_token"]
        self._put(demo)
        self._configure()
        demo.step(
            "One script gives the gateway the right to read it, bound to its SPIFFE ID, and revokes the root token."
        )
        demo.run(str(SETUP), env={**self._environment(root), "GOVCTL": str(BIN / "govctl")})
        demo.run("govctl", "secret", "doctor")

    def show_rotation(self, demo: Typing, call: tuple[str, ...]) -> None:
        """Give Vault and the server another key, call again, and look for both keys in the gateway's files."""
        old = self.key_file.read_text()
        demo.step("A rotation: another key in OpenBao and at the model server. The gateway is not told, nor restarted.")
        self._new_key()
        self._put(demo)
        demo.run(*call)
        demo.run("govctl", "secret", "inventory")
        keys = (old.encode(), self.key_file.read_bytes())
        own = {self.key_file, *self._vault.rglob("*")}
        found = [p for p in self._directory.rglob("*") if p.is_file() and p not in own and _has(p, keys)]
        print(f"     Files of the gateway that have one of the keys: {', '.join(map(str, found)) or 'none'}.")

    def _put(self, demo: Typing) -> None:
        arguments = ("kv", "put", "-mount=secret", "backends/example", f"key=@{self.key_file.name}")
        demo.run("bao", *arguments, env=self._environment(self._operator))

    def _configure(self) -> None:
        path = self._directory / "govgateway.yaml"
        document = yaml.safe_load(path.read_text())
        document["secrets"] = {
            "vault": {
                "addresses": [self._address],
                "ca_file": "vault/ca.pem",
                "login": {"method": "jwt", "role": "govgateway"},
            }
        }
        for backend in document["backends"]:
            backend["credential"] = REFERENCE
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def _open(self) -> str:
        """Initialise and unseal it; return the root token, which the set-up script revokes."""
        context = ssl.create_default_context(cafile=self._vault / "ca.pem")
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self._port), 2) as sock:
                    context.wrap_socket(sock, server_hostname="127.0.0.1").close()
                break
            except OSError:
                time.sleep(0.1)
        made = json.loads(self._bao("", "operator", "init", "-key-shares=1", "-key-threshold=1", "-format=json"))
        self._bao("", "operator", "unseal", made["unseal_keys_b64"][0])
        while time.monotonic() < deadline:
            status = subprocess.run(
                [BIN / "bao", "status"], env=self._environment(""), capture_output=True, check=False, timeout=30
            )
            if status.returncode == 0 and b"active" in status.stdout:
                break
            time.sleep(0.1)
        return str(made["root_token"])

    def _bao(self, token: str, *arguments: str, given: str = "") -> str:
        done = subprocess.run(
            [BIN / "bao", *arguments], env=self._environment(token), input=given, capture_output=True, text=True,
            check=True, timeout=60,
        )  # fmt: skip
        return done.stdout

    def _environment(self, token: str) -> dict[str, str]:
        named = {"ADDR": self._address, "CACERT": str(self._vault / "ca.pem"), "TOKEN": token}
        return {
            "PATH": f"{BIN}:/usr/bin:/bin",
            "HOME": str(self._vault),
            **{f"{program}_{name}": value for program in ("VAULT", "BAO") for name, value in named.items()},
        }

    def _new_key(self) -> None:
        self.key_file.touch(0o600)
        self.key_file.write_text(f"sk-demo-{secrets.token_urlsafe(24)}")


def _has(path: Path, keys: tuple[bytes, ...]) -> bool:
    content = path.read_bytes()
    return any(key in content for key in keys)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _make_certificates(directory: Path) -> None:
    """Write the authority's certificate, and the server's with its key; the authority's key is thrown away."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "OpenBao of the demo")])

    def certificate(
        subject: x509.Name, public: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(
            now - datetime.timedelta(minutes=5)
        )
        builder = builder.not_valid_after(now + datetime.timedelta(days=7)).add_extension(extension, critical=True)
        return builder.sign(ca_key, hashes.SHA256())

    ca = certificate(ca_name, ca_key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = certificate(x509.Name([]), key.public_key(), names)
    (directory / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    (directory / "server.pem").write_bytes(leaf.public_bytes(Encoding.PEM) + ca.public_bytes(Encoding.PEM))
    (directory / "server.key").touch(0o600)
    (directory / "server.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
