"""The embedded policy engine: Rego in the process, and a deny for whatever a policy or it does wrong.

The engine cannot be interrupted. A decision that took too long is a deny as well, but the process has waited for it;
what keeps that from happening are the trials when policies are loaded (`gateway.authorization.probe_time`).
"""

import threading
import time
from collections.abc import Callable

import orjson

from gateway.authorization.decision_form import MALFORMED_DENY, MalformedDecisionError, parse_decision
from gateway.authorization.engine import Decision, PolicyInput
from gateway.authorization.policy_set import ENTRY_POINT, LoadedPolicySet
from gateway.authorization.probe_time import DECISION_SECONDS
from gateway.authorization.rego import EnginePanicError, RegoError, evaluate


def _ignore(_detail: str) -> None:
    pass


class EmbeddedEngine:
    """A `PolicyEngine` over one policy set. It belongs to the thread that made it.

    Args:
        policies: the policy set, loaded and checked.
        on_malformed: told what was wrong, each time a `policy_malformed` deny stands in for an answer.

    Attributes:
        malformed: how often that happened.
    """

    def __init__(self, policies: LoadedPolicySet, on_malformed: Callable[[str], None] = _ignore) -> None:
        self._policies = policies
        self._on_malformed = on_malformed
        self._thread = threading.get_ident()
        self._engine = policies.new_engine()
        self.malformed = 0

    async def decide(self, policy_input: PolicyInput) -> Decision:
        """Return the decision for this input. Never raises: what goes wrong is a deny."""
        return self.decide_now(policy_input)

    def decide_now(self, policy_input: PolicyInput) -> Decision:
        """Do what `decide` does, without a coroutine."""
        if threading.get_ident() != self._thread:
            return self._malformed("the engine was called from a thread that it does not belong to")
        try:
            text = orjson.dumps(policy_input).decode()
            # The processor's time: a busy machine makes no policy slower.
            start = time.thread_time()
            answer = evaluate(self._engine, ENTRY_POINT, text)
            return _in_time(parse_decision(answer), time.thread_time() - start)
        except MalformedDecisionError as error:
            return self._malformed(str(error))
        except EnginePanicError as error:
            self._engine = self._policies.new_engine()
            return self._malformed(str(error))
        except RegoError as error:
            return self._malformed(str(error))
        except (TypeError, ValueError) as error:
            return self._malformed(f"the input is not JSON: {error}")

    def _malformed(self, detail: str) -> Decision:
        self.malformed += 1
        self._on_malformed(detail)
        return MALFORMED_DENY


def _in_time(decision: Decision, spent: float) -> Decision:
    if spent > DECISION_SECONDS:
        raise MalformedDecisionError(
            f"the decision took {spent * 1000:.0f} ms; it may take {DECISION_SECONDS * 1000:.0f}"
        )
    return decision
