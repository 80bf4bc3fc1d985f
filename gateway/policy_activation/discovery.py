"""The discovery bundle: how an OPA that knows only this gateway follows its policies and reports to it.

www.openpolicyagent.org, discovery: a bundle whose data say how the OPA is to be configured.
"""

from hashlib import sha256

import orjson

from gateway.authorization.bundle.archive import pack
from gateway.authorization.manifest import MANIFEST, Manifest
from gateway.config.policy import Policy

SERVICE = "govgateway"
"""Name that the OPA's own configuration gives the service; its URL ends in `/v1/policy`."""

LONG_POLL_SECONDS = 60


def discovery_bundle(policy: Policy, bundle: str) -> bytes:
    """Return the bundle; its data as a whole are the configuration, where an OPA looks for it unless told otherwise.

    Args:
        policy: the configuration.
        bundle: name of the bundle with the policies.
    """
    followed = {
        "service": SERVICE,
        "resource": f"bundles/{bundle}",
        "polling": {
            "min_delay_seconds": 1,
            "max_delay_seconds": 5,
            "long_polling_timeout_seconds": LONG_POLL_SECONDS,
        },
    }
    if policy.keys:
        # The OPA holds the keys by these ids itself: who serves the policies does not say whom to trust.
        followed["signing"] = {"keyid": policy.keys[0].id}
    data = {
        "bundles": {SERVICE: followed},
        "decision_logs": {"service": SERVICE, "reporting": {"min_delay_seconds": 1, "max_delay_seconds": 5}},
        "status": {"service": SERVICE},
        "default_decision": "/govgateway/authz/decision",
    }
    content = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    manifest = Manifest(f"sha256:{sha256(content).hexdigest()}", tuple(data))
    return pack({"data.json": content, MANIFEST: manifest.to_json()})
