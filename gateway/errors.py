"""Every refusal and failure of the gateway, one class each, in one tree.

    GatewayError
    ├── RequestError            400  the caller sent something that cannot be served
    │   ├── NotFoundError       404
    │   ├── MethodNotAllowedError 405
    │   ├── RequestTimeoutError 408
    │   ├── BodyTooLargeError   413
    │   ├── MediaTypeError      415
    │   ├── HeadersTooLargeError 431
    │   └── HttpVersionError    505
    ├── IdentityRefusedError    401  the peer proved no acceptable identity
    ├── PolicyDeniedError       403  the policy said no
    ├── ApprovalRequiredError   403  a person has to approve the call first
    ├── ApprovalRefusedError    403  a person did not
    ├── SystemStoppedError      403  a person stopped the AI system
    ├── QuotaExceededError      429  a limit is used up
    ├── TooManyRefusalsError    429  the caller repeats calls that are refused
    ├── UpstreamError           502  the backend failed or answered garbage
    │   ├── UpstreamConnectError 502 no byte of the request was sent
    │   └── UpstreamTimeoutError 504
    ├── UnavailableError        503  a part that must answer does not: nothing passes
    ├── TooManyConnectionsError 503  the listener's bounds on open connections
    └── ConfigError             (start-up and reload only)

Each class names its problem type (RFC 9457, section 3.1.1), which is also the label of its log event
and its metric. `title` is constant for a type; `detail` tells this occurrence; `remedy` tells the person
reading it what to do next.
"""

from collections.abc import Mapping, Sequence

PROBLEM_BASE = "urn:govgateway:problem:"


class GatewayError(Exception):
    """Base of all errors that reach a caller.

    Attributes:
        slug: last part of the problem type URI, the `reason` label of metrics and the log event.
        status: HTTP status code.
        title: short sentence, the same for each occurrence of the type.
        detail: what happened this time. Never contains a secret or another caller's data.
        remedy: what the reader can do about it; empty when there is nothing.
        code: machine-readable cause within the type, for instance a deny reason of the policy.
        headers: extra response headers, lower-case names.
        extensions: further members of the problem document (RFC 9457, section 3.2).
    """

    slug = "internal-error"
    status = 500
    title = "The gateway failed."

    def __init__(
        self,
        detail: str,
        *,
        remedy: str = "",
        code: str = "",
        headers: Sequence[tuple[bytes, bytes]] = (),
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy
        self.code = code or self.slug.replace("-", "_")
        self.headers = tuple(headers)
        self.extensions = dict(extensions or {})

    def problem(self, instance: str = "") -> dict[str, object]:
        """Return the RFC 9457 problem document of this error."""
        document: dict[str, object] = {
            "type": PROBLEM_BASE + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.remedy:
            document["remedy"] = self.remedy
        if instance:
            document["instance"] = instance
        document.update(self.extensions)
        return document


class RequestError(GatewayError):
    slug = "invalid-request"
    status = 400
    title = "The request cannot be understood."


class NotFoundError(RequestError):
    slug = "not-found"
    status = 404
    title = "There is no such route."


class MethodNotAllowedError(RequestError):
    slug = "method-not-allowed"
    status = 405
    title = "This route does not take this method."


class RequestTimeoutError(RequestError):
    slug = "request-timeout"
    status = 408
    title = "The request did not arrive in time."


class BodyTooLargeError(RequestError):
    slug = "body-too-large"
    status = 413
    title = "The request body is larger than the gateway accepts."


class MediaTypeError(RequestError):
    slug = "unsupported-media-type"
    status = 415
    title = "The content type or encoding of the request is not supported."


class HeadersTooLargeError(RequestError):
    slug = "headers-too-large"
    status = 431
    title = "The request headers are larger than the gateway accepts."


class HttpVersionError(RequestError):
    slug = "http-version-not-supported"
    status = 505
    title = "This listener speaks HTTP/1.1 only."


class IdentityRefusedError(GatewayError):
    slug = "identity-refused"
    status = 401
    title = "The caller proved no identity that the gateway accepts."


class PolicyDeniedError(GatewayError):
    slug = "policy-denied"
    status = 403
    title = "The policy does not allow this call."


class ApprovalRequiredError(GatewayError):
    slug = "approval-required"
    status = 403
    title = "A person has to approve this call."


class ApprovalRefusedError(GatewayError):
    slug = "approval-refused"
    status = 403
    title = "A person refused to approve this call."


class SystemStoppedError(GatewayError):
    slug = "system-stopped"
    status = 403
    title = "A person stopped this AI system."


class QuotaExceededError(GatewayError):
    slug = "quota-exceeded"
    status = 429
    title = "A quota is used up."


class TooManyRefusalsError(GatewayError):
    """The caller repeats calls that are refused."""

    slug = "too-many-refusals"
    status = 429
    title = "Too many calls were refused."


class UpstreamError(GatewayError):
    slug = "upstream-failed"
    status = 502
    title = "The model server failed."


class UpstreamConnectError(UpstreamError):
    slug = "upstream-unreachable"
    title = "The model server cannot be reached."


class UpstreamTimeoutError(UpstreamError):
    slug = "upstream-timeout"
    status = 504
    title = "The model server did not answer in time."


class UnavailableError(GatewayError):
    slug = "unavailable"
    status = 503
    title = "A part of the gateway that must answer does not, so nothing passes."


class TooManyConnectionsError(GatewayError):
    slug = "too-many-connections"
    status = 503
    title = "The listener has no room for another connection."


class ConfigError(Exception):
    """A configuration, policy or state file that cannot be used.

    The message names the file, the place in it, the cause and the remedy.
    """
