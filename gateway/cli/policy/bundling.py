"""govctl policy build, sign, verify and keygen."""

import re
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.authorization.bundle import BundleSigner, BundleVerifier, read_bundle, sign_bundle, write_bundle
from gateway.authorization.bundle.archive import MAX_PACKED_BYTES
from gateway.authorization.bundle.keys import generate_key_pair
from gateway.authorization.manifest import MANIFEST, Manifest, parse_manifest
from gateway.authorization.policy_set import load_policy_tree
from gateway.authorization.policy_tree import read_policy_tree
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, say
from gateway.cli.policy.base import app
from gateway.cli.policy.origin import change_of, git_origin
from gateway.config import load_config
from gateway.errors import ConfigError
from identity.sealing import read_private, write_private

_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_PUBLIC_MODE = 0o644

OutOption = Annotated[Path, typer.Option("--out", "-o", help="File to write the bundle to.")]
SigningKeyOption = Annotated[Path | None, typer.Option(help="Private key that signs (PEM, mode 0600).")]
KeyIdOption = Annotated[str, typer.Option(help="Name by which verifiers know the key.")]


@app.command()
def build(
    out: OutOption,
    directory: Annotated[Path | None, typer.Option(help="Directory of the policies; default: the configured.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    revision: Annotated[str, typer.Option(help="Name of the revision; default: git's commit, else a digest.")] = "",
    signing_key: SigningKeyOption = None,
    key_id: KeyIdOption = "",
    tests: Annotated[bool, typer.Option("--tests", help="Bundle the Rego tests, too.")] = False,
    change: Annotated[Path | None, typer.Option(help="How the change came about (JSON); options go first.")] = None,
    commit: Annotated[str | None, typer.Option(help="The commit; default: git's.")] = None,
    commit_signed: Annotated[
        bool | None, typer.Option("--commit-signed", help="The commit's signature was verified.")
    ] = None,
    author: Annotated[str | None, typer.Option(help="Who wrote the change; default: git's author.")] = None,
    approver: Annotated[list[str] | None, typer.Option(help="Who approved it; may be repeated.")] = None,
    link: Annotated[str | None, typer.Option(help="The pull request.")] = None,
    check: Annotated[list[str] | None, typer.Option(help="A check that passed; may be repeated.")] = None,
    serial: Annotated[int | None, typer.Option(help="Rises with every revision; default: git's commit time.")] = None,
    json: JsonOption = False,
) -> None:
    """Check the policies and write them as a bundle, the same bytes for the same policies."""
    signer = _signer(signing_key, key_id)
    source = directory or load_config(config).policy.directory
    tree = read_policy_tree(source)
    policies = load_policy_tree(tree)
    git = git_origin(source)
    given = {
        "commit": commit,
        "commit_signed": commit_signed,
        "author": author,
        "approvers": approver or None,
        "link": link,
        "checks": check or None,
        "serial": serial,
    }
    name = revision or (git.revision if git else policies.revision)
    manifest = Manifest(name, policies.manifest.roots, change_of(change, given, git))
    content = write_bundle(tree, manifest, signer, tests=tests)
    built = load_policy_tree(read_bundle(content, out, None))  # what is written is what everyone will read
    write_private(out, content, mode=_PUBLIC_MODE)
    report = {
        **_summary(out, content, manifest),
        "data_digest": built.data_digest,
        "key_id": signer.key_id if signer else None,
        "uncommitted": list(git.changed) if git else [],
    }
    if json:
        print_json(report)
        return
    say(f"{out}: revision {name}, sha256:{report['digest']}, {len(content)} bytes.")
    say(f"Signed with the key {signer.key_id} ({signer.algorithm})." if signer else "Not signed.")
    if git and git.changed:
        say(f"Not what was committed: {', '.join(git.changed[:10])}{', …' if len(git.changed) > 10 else ''}.")


@app.command()
def sign(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    out: OutOption,
    signing_key: SigningKeyOption = None,
    key_id: KeyIdOption = "",
    json: JsonOption = False,
) -> None:
    """Sign a bundle: its files stay as they are, the signature takes the place of any that it has."""
    signer = _signer(signing_key, key_id)
    if signer is None:
        raise ConfigError("Give the key to sign with: --signing-key FILE --key-id ID.")
    content = _read(bundle)
    tree = read_bundle(content, bundle, None)
    signed = sign_bundle(content, signer)
    write_private(out, signed, mode=_PUBLIC_MODE)
    manifest = parse_manifest(tree.files.get(MANIFEST), out / MANIFEST)
    if json:
        print_json({**_summary(out, signed, manifest), "key_id": signer.key_id})
    else:
        digest = sha256(signed).hexdigest()
        say(f"{out}: revision {manifest.revision}, sha256:{digest}, signed with the key {key_id} ({signer.algorithm}).")


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    key: Annotated[list[str], typer.Option(help="A public key that may have signed: ID=FILE (PEM); may be repeated.")],
    json: JsonOption = False,
) -> None:
    """Verify a bundle: signed with one of the keys, no file extra, missing or changed, nothing outside its roots."""
    content = _read(bundle)
    tree = read_bundle(content, bundle, BundleVerifier(dict(map(_named_key, key))))
    manifest = parse_manifest(tree.files.get(MANIFEST), bundle / MANIFEST)
    report = _summary(bundle, content, manifest)
    if json:
        print_json(report)
    else:
        say(f"{bundle} is verified: revision {manifest.revision}, sha256:{report['digest']}, {len(tree.files)} files.")


@app.command()
def keygen(
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory to write the two keys to.")],
    algorithm: Annotated[str, typer.Option(help="ES256, ES384 or EdDSA.")] = "ES256",
    key_id: Annotated[str, typer.Option(help="Name of the key, and of its files.")] = "policies",
    json: JsonOption = False,
) -> None:
    """Make a key that signs bundles: <key-id>.private.pem, readable by its owner alone, and <key-id>.public.pem."""
    if not _KEY_ID.fullmatch(key_id):
        raise ConfigError(f"{key_id!r} is no name of a key: use 1 to 100 of A-Z, a-z, 0-9, dot, dash and underscore.")
    private_path, public_path = (out / f"{key_id}.{part}.pem" for part in ("private", "public"))
    for path in (private_path, public_path):
        if path.exists():
            raise ConfigError(f"{path} exists already; a key is never overwritten. Choose another --key-id.")
    private, public = generate_key_pair(algorithm)
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out} cannot be made: {error.strerror}.") from error
    write_private(private_path, private)
    write_private(public_path, public, mode=_PUBLIC_MODE)
    if json:
        print_json({"key_id": key_id, "algorithm": algorithm, "private": str(private_path), "public": str(public_path)})
    else:
        say(f"Sign with {private_path}, and keep it secret; verify with {public_path} (policy.keys: id {key_id}).")


def _signer(path: Path | None, key_id: str) -> BundleSigner | None:
    if path is None and not key_id:
        return None
    if path is None or not key_id:
        raise ConfigError("--signing-key and --key-id go together.")
    try:
        return BundleSigner(read_private(path), key_id)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _named_key(text: str) -> tuple[str, bytes]:
    key_id, separator, file = text.partition("=")
    if not key_id or not separator or not file:
        raise ConfigError(f"{text!r} is not of the form ID=FILE, as in --key policies=keys/policies.public.pem.")
    try:
        return key_id, Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_PACKED_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error


def _summary(path: Path, content: bytes, manifest: Manifest) -> dict[str, Any]:
    return {
        "bundle": str(path),
        "revision": manifest.revision,
        "digest": sha256(content).hexdigest(),
        "bytes": len(content),
        "change": manifest.change.model_dump(mode="json"),
    }
