"""The composition root: the only place that builds the parts of the gateway from its configuration."""

import asyncio
import os
import secrets as randomness
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from audit.log import AuditLog
from audit.sealing import Sealer
from audit.store import AuditStore, open_store
from audit.tree.guard import check_chain
from audit.tree.state import FILE_NAME, TreeState
from gateway.approvals.store import OversightStore
from gateway.audit_keys import open_signers
from gateway.audit_tree import AuditTree
from gateway.authorization.cache import CachingEngine, DecisionCache
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import PolicyEngine
from gateway.authorization.input_paths import WHOLE_INPUT, input_paths
from gateway.authorization.policy_set import EngineName, LoadedPolicySet, load_policy_set
from gateway.clock import Clock, system_clock
from gateway.config import GatewayConfig
from gateway.content_sealing import ContentSealing
from gateway.errors import ConfigError, UnavailableError
from gateway.policy_activation.candidates import load_stored
from gateway.policy_activation.store import PolicyStore
from gateway.protocols.openai import OpenAIProtocol
from gateway.quota.limits import LimitTable
from gateway.quota.shared_ledger import SharedLedger
from gateway.receipts import Receipts
from gateway.runtime import Runtime, model_credentials, model_regions
from gateway.secrets.opening import check_sealed, secret_store
from gateway.secrets.store import SecretStore
from gateway.upstream.balancer import Balancer
from gateway.upstream.http1.client import Http1Client
from gateway.upstream.registry import BackendRegistry
from identity.authority import Authority, AuthoritySettings, UpstreamAuthority, authority_dir, bundle_path
from identity.bundle import TrustBundle, load_bundle
from identity.federation import BundleEndpoint
from identity.keys import KeyManager, SealedKeyManager
from identity.registry import Registry
from identity.sealing import decode_seal_key, read_private, write_private

if TYPE_CHECKING:
    from gateway.audit_anchors import AuditAnchors

_log = structlog.get_logger("govgateway.app")

HOUR, DAY = 3600, 86_400

RETIRE_SECONDS = 15.0
"""How long calls may still decide by a generation that was replaced (seconds)."""

GATEWAY_PATH = "/gateway"
"""Path of the gateway's own SPIFFE ID."""


def policy_store(config: GatewayConfig) -> PolicyStore:
    """Return the revisions that this gateway has run."""
    return PolicyStore(config.state_dir / "policy")


def configured_policies(config: GatewayConfig) -> LoadedPolicySet:
    """Load the policies that the gateway would decide by if it were started now.

    Raises:
        ConfigError: they cannot be used, or no revision is active yet.
    """
    if config.policy.source == "directory":
        return load_policy_set(config.policy.directory, engine=config.policy.engine)
    store = policy_store(config)
    active = store.history().active
    if active is None:
        raise ConfigError(
            f"No revision of the policies is active in {config.state_dir}. Activate one: govctl policy activate BUNDLE"
        )
    return load_stored(store, active.digest, f"revision {active.revision}", config.policy.engine)


def stored_policies(config: GatewayConfig, digest: str, engine: EngineName | None = None) -> LoadedPolicySet:
    """Load the policies of a bundle that the control process checked and put into the store.

    Args:
        config: the configuration.
        digest: of the bundle.
        engine: what decides by them; default: the configured one.

    Raises:
        ConfigError: the bundle is gone or was changed.
    """
    store = policy_store(config)
    return load_stored(store, digest, str(store.path(digest)), engine or config.policy.engine)


def build_runtime(
    config: GatewayConfig,
    policies: LoadedPolicySet,
    cache: DecisionCache | None = None,
    clock: Clock = system_clock,
    *,
    opa_address: str = "",
) -> Runtime:
    """Build one generation of everything a reload replaces.

    Args:
        config: the configuration.
        policies: the policies.
        cache: decision cache to go on with; decisions of other policies in it are never found.
        clock: the time.
        opa_address: where the OPA server of these policies listens, where one decides.

    Raises:
        ConfigError: policies, limits or certificates cannot be used.
    """
    check_sealed(config)
    unknown = sorted({m.system for m in config.models if policies.system(m.system) is None})
    if unknown:
        named = ", ".join(repr(system) for system in unknown)
        raise ConfigError(
            f"models name AI systems that the register does not know: {named}. Add them to "
            "govgateway/systems/data.yaml of the policies; without one a model is granted to nobody."
        )
    if cache is None:
        cache = DecisionCache(config.policy.cache_entries)
    engine = _engine(config, policies, opa_address)
    # An OPA that somebody else runs may know more rules than these.
    elsewhere = config.policy.engine == "opa" and not opa_address
    read = WHOLE_INPUT if elsewhere else input_paths(policies)
    backends = BackendRegistry.from_config(config)
    return Runtime(
        config=config,
        policies=policies,
        engine=CachingEngine(engine, cache, clock, policies, read),
        limits=LimitTable.from_data(policies.limits()),
        backends=backends,
        balancer=Balancer(clock),
        models={model.name: model for model in config.models},
        regions=model_regions(config),
        credentials=model_credentials(config),
        protocols=(OpenAIProtocol(),),
    )


def retire_runtime(runtime: Runtime) -> None:
    """Let go of what a replaced generation holds, once the calls that still decide by it are done."""
    engine = runtime.engine.behind if isinstance(runtime.engine, CachingEngine) else runtime.engine
    close = getattr(engine, "close", None)
    if close is not None:
        asyncio.get_running_loop().call_later(RETIRE_SECONDS, close)


def _engine(config: GatewayConfig, policies: LoadedPolicySet, opa_address: str) -> PolicyEngine:
    """Return the engine that the configuration chooses."""
    chosen = config.policy
    if chosen.engine == "embedded":
        return EmbeddedEngine(policies, _policy_malformed)
    from gateway.authorization.opa import OpaEngine  # noqa: PLC0415 - loaded only where it is used

    return OpaEngine(
        opa_address or chosen.opa.address,
        timeout_seconds=chosen.opa.timeout_seconds,
        connections=chosen.opa.connections,
        expected_revision=policies.revision,
        on_malformed=_policy_malformed,
        ca_file=chosen.opa.ca_file,
        client_cert_file=chosen.opa.client_cert_file,
        client_key_file=chosen.opa.client_key_file,
    )


def build_upstream(secrets: SecretStore) -> Http1Client:
    """Build the client towards the backends."""
    return Http1Client(secrets)


def open_registry(config: GatewayConfig, clock: Clock = system_clock) -> Registry:
    """Open the inventory of identities."""
    return Registry(config.state_dir / "registry.sqlite", clock)


def open_ledger(config: GatewayConfig, clock: Clock = system_clock) -> SharedLedger:
    """Open the quota ledger for counting; a single worker keeps it to itself."""
    path = config.state_dir / "quota.ledger"
    return SharedLedger(path, config.quota.slots, clock, "alone" if config.listener.workers == 1 else "shared")


def read_ledger(config: GatewayConfig, clock: Clock = system_clock) -> SharedLedger:
    """Open the quota ledger for looking at it, beside a running gateway."""
    return SharedLedger(config.state_dir / "quota.ledger", config.quota.slots, clock, "read")


def open_audit_store(config: GatewayConfig) -> AuditStore:
    """Return the store of audit chains.

    Raises:
        ConfigError: the URL of its database cannot be had.
    """
    where: Path | str = config.audit_dir
    if config.audit.database:
        try:
            where = secret_store(config).read(config.audit.database).reveal().decode().strip()
        except UnavailableError as error:
            raise ConfigError(f"audit.database: {error.detail}") from error
    return open_store(where, config.audit_log, heads=config.audit_dir)


def checked_audit_store(config: GatewayConfig, chain: str) -> AuditStore:
    """Return the chains, once it is certain that one of them still has what the tree took from it.

    Raises:
        AuditBrokenError: it has not.
    """
    store = open_audit_store(config)
    if (config.audit_tree / FILE_NAME).exists():
        with TreeState(config.audit_tree, readonly=True) as state:
            head = state.head(chain)
        if head is not None:
            check_chain(store, chain, head)
    return store


def open_audit_tree(config: GatewayConfig) -> tuple[AuditTree, list[str]]:
    """Open the signed tree of the log; return it with the public halves of keys that were made just now.

    Raises:
        ConfigError: the key cannot be had.
        AuditStoreError: the log is not the one that was taken into the tree, or cannot be opened.
    """
    signers, made = open_signers(config)
    witnesses = None
    if config.audit.witnesses.policy_file is not None:
        from gateway.audit_witnesses import open_witnesses  # noqa: PLC0415 - its client is loaded only where it is used

        witnesses = open_witnesses(config.audit.witnesses)
    interval = config.audit.checkpoint_seconds
    tree = AuditTree(open_audit_store(config), config.audit_tree, signers, interval, witnesses)
    return tree, [signer.verifier_key for signer in made]


def open_audit_anchors(config: GatewayConfig) -> "AuditAnchors | None":
    """Return what stamps and copies the log's checkpoints; None where nothing is configured.

    Raises:
        ConfigError: a URL, a certificate or a reference is wrong.
    """
    if not config.audit.timestamps.url and not config.audit.copies.endpoint:
        return None
    from gateway.audit_anchors import AuditAnchors  # noqa: PLC0415 - its clients are loaded only where they are used

    return AuditAnchors(config)


def receipts(config: GatewayConfig) -> Receipts:
    """Return what makes receipts for callers."""
    store = open_audit_store(config)
    return Receipts(store, config.audit_tree, config.audit.checkpoint_seconds, system_clock)


def content_sealing(config: GatewayConfig, audit: AuditLog) -> ContentSealing:
    """Return what keeps the content of calls where the policy asks for it; nothing is opened before that."""

    def sealer() -> Sealer:
        from gateway.sealed_content import open_sealer  # noqa: PLC0415 - loaded only where content is sealed

        return open_sealer(config)

    return ContentSealing(audit, sealer, config.audit.sealing.max_memory_bytes)


def open_oversight(config: GatewayConfig) -> OversightStore:
    """Open what all processes share of approvals and stopped systems.

    Raises:
        UnavailableError: it cannot be opened.
    """
    return OversightStore(config.state_dir)


def open_audit_log(config: GatewayConfig, chain: str, clock: Clock = system_clock) -> AuditLog:
    """Open one chain for writing. Call on the event loop that will use it.

    Raises:
        AuditStoreError: another process writes it, or it is an older copy than its head file or the tree knows.
    """
    return AuditLog(
        checked_audit_store(config, chain),
        chain,
        digest_key=_digest_key(config.audit_dir / "digest.key"),
        clock=clock,
        pending_records=config.audit.pending_records,
    )


def open_authority(config: GatewayConfig, clock: Clock = system_clock) -> Authority:
    """Open the trust domain's authority with the sealing key that the configuration names.

    Raises:
        ConfigError: the sealing key cannot be had, or the trust domain is SPIRE's.
    """
    if config.identity.source == "spire":
        raise ConfigError(
            "identity.source is spire: identities and their certificates are SPIRE's business; use spire-server entry, "
            "and keep owner, team and state of each identity here with: govctl agent register"
        )
    return Authority.open(
        config.state_dir, config.trust_domain, authority_keys(config), clock, authority_settings(config)
    )


def authority_keys(config: GatewayConfig) -> KeyManager:
    """Return where the authority's private keys are: sealed files, or Vault.

    Raises:
        ConfigError: the sealing key cannot be had.
    """
    if config.secrets.vault.keys.authority:
        from gateway.secrets.vault.opening import open_transit  # noqa: PLC0415 - loaded only where it is used

        return open_transit(config, "authority")
    try:
        key = secret_store(config).read(config.identity.seal_key)
    except UnavailableError as error:
        raise ConfigError(f"identity.seal_key: {error.detail}") from error
    return SealedKeyManager(authority_dir(config.state_dir), decode_seal_key(key.reveal()))


def authority_settings(config: GatewayConfig) -> AuthoritySettings:
    """Return what the authority makes from now on."""
    chosen = config.identity.authority
    return AuthoritySettings(
        root_lifetime=chosen.root_lifetime_days * DAY,
        signing_lifetime=chosen.signing_lifetime_hours * HOUR,
        jwt_key_lifetime=chosen.jwt_key_lifetime_hours * HOUR,
        root_key_type=chosen.root_key_type,
        signing_key_type=chosen.signing_key_type,
        jwt_key_type=chosen.jwt_key_type,
        refresh_hint=chosen.refresh_hint_seconds,
        upstream_certificate=chosen.upstream_cert_file,
        upstream_key=chosen.upstream_key_file,
        upstream=_upstream(config),
    )


def _upstream(config: GatewayConfig) -> UpstreamAuthority | None:
    path = config.identity.authority.upstream_vault
    if not path:
        return None
    from gateway.secrets.vault.opening import open_vault  # noqa: PLC0415 - loaded only where it is used
    from gateway.secrets.vault.pki import VaultUpstream  # noqa: PLC0415 - as above

    return VaultUpstream(open_vault(config), path)


def trust_bundles(config: GatewayConfig) -> dict[str, TrustBundle]:
    """Read the bundle of the own trust domain and those of the federated ones that are given by file.

    Raises:
        BundleError: one cannot be read.
    """
    if config.identity.source == "spire":
        return {}
    bundles = {config.trust_domain: load_bundle(config.trust_domain, bundle_path(config.state_dir))}
    for federated in config.identity.federated:
        if federated.trust_domain == config.trust_domain:
            raise ConfigError(f"identity.federated names the own trust domain {config.trust_domain}")
        if federated.url is None and federated.file is not None:
            bundles[federated.trust_domain] = load_bundle(federated.trust_domain, federated.file)
    return bundles


def federation_endpoints(config: GatewayConfig) -> list[BundleEndpoint]:
    """Return where the bundles of the other federated domains are fetched.

    Raises:
        BundleError: an endpoint cannot be used, or the bundle to begin with cannot be read.
    """
    return [
        BundleEndpoint(
            trust_domain=each.trust_domain,
            url=str(each.url),
            profile=each.profile,
            ca_file=each.ca_file,
            server_id=each.server_id,
            bootstrap=load_bundle(each.trust_domain, each.file) if each.file is not None else None,
        )
        for each in config.identity.federated
        if each.url is not None
    ]


def _digest_key(path: Path) -> bytes:
    """Return the key of the payload digests, making it the first time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        write_private(fresh, randomness.token_bytes(32))
        try:
            os.link(fresh, path)  # of several processes that start at once, the first wins
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return read_private(path)


def _policy_malformed(detail: str) -> None:
    _log.error("policy-malformed", detail=detail)
