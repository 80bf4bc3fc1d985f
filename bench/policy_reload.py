"""What a new revision of the policies costs before any call is decided by it: building, verifying, loading.

Run: .venv/bin/python bench/policy_reload.py
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml

from gateway.authorization.bundle import BundleSigner, BundleVerifier, read_bundle, write_bundle
from gateway.authorization.bundle.keys import generate_key_pair
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.manifest import Change, Manifest
from gateway.authorization.policy_set import load_policy_tree
from gateway.authorization.policy_tree import PolicyTree, read_policy_tree

BINDINGS = (100, 1_000, 10_000)
ROUNDS = 7
POLICIES = Path(__file__).resolve().parents[1] / "policies"


def main() -> None:
    """Measure and print."""
    private, public = generate_key_pair("ES256")
    signer, verifier = BundleSigner(private, "bench"), BundleVerifier({"bench": public})
    print(f"{'bindings':>10} {'step':<38} {'median ms':>10}")
    for count in BINDINGS:
        tree = policies_with(count)
        manifest = Manifest("bench", ("govgateway",), Change(serial=1))
        bundle = write_bundle(tree, manifest, signer)
        source = Path("bench.tar.gz")
        verified = read_bundle(bundle, source, verifier)
        loaded = load_policy_tree(verified)
        steps: list[tuple[str, Callable[[], object]]] = [
            ("build and sign, from YAML", partial(write_bundle, tree, manifest, signer)),
            ("read and verify the bundle", partial(read_bundle, bundle, source, verifier)),
            ("check and load it", partial(load_policy_tree, verified)),
            ("a worker's engine from it", partial(EmbeddedEngine, loaded)),
        ]
        for name, step in steps:
            print(f"{count:>10} {name:<38} {_median_ms(step):>10.1f}")
        print(f"{count:>10} {'bundle':<38} {len(bundle) / 1024:>7.0f} KiB")


def policies_with(count: int) -> PolicyTree:
    """Return the starter policies with this many bindings of single agents."""
    tree = read_policy_tree(POLICIES)
    table = {f"spiffe://example.org/agent/n{number}": ["chat-user"] for number in range(count)}
    content = yaml.safe_dump(table).encode()
    return PolicyTree(tree.source, {**tree.files, "govgateway/bindings/data.yaml": content})


def _median_ms(step: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        step()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


if __name__ == "__main__":
    main()
