"""The routes of OpenAI's API that the gateway serves; every other path is refused."""

from dataclasses import dataclass

from gateway.errors import MethodNotAllowedError, NotFoundError

MODELS = "/v1/models"

MAX_MODEL_NAME = 200
"""Longest name of a model (characters)."""
_MODEL_PREFIX = MODELS + "/"


@dataclass(frozen=True, slots=True)
class Route:
    """One operation that is forwarded.

    Attributes:
        operation: the name used in records, policies and metrics.
        action: action of the policy contract.
        upstream_path: path below the backend's base URL.
        limit_keys: the keys that bound the output, the preferred one first; empty where none is generated.
        answer_key: the member of a whole answer that holds the result, a list.
        delta_mark: occurs once for each piece of content in a stream.
    """

    operation: str
    action: str
    upstream_path: str
    limit_keys: tuple[str, ...]
    answer_key: str
    delta_mark: bytes


CHAT = Route(
    "chat.completions",
    "model.infer",
    "/chat/completions",
    # Named by neither, the older name is sent: every compatible server knows it.
    ("max_tokens", "max_completion_tokens"),
    "choices",
    b'"delta"',
)
COMPLETIONS = Route("completions", "model.infer", "/completions", ("max_tokens",), "choices", b'"text"')
EMBEDDINGS = Route("embeddings", "model.embed", "/embeddings", (), "data", b"")
RESPONSES = Route("responses", "model.infer", "/responses", ("max_output_tokens",), "output", b'.delta"')

ROUTES = {"/v1" + route.upstream_path: route for route in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES)}
BY_OPERATION = {route.operation: route for route in ROUTES.values()}


def is_known(path: str) -> bool:
    """Whether the path is one of the routes, with whatever method."""
    return path in ROUTES or path == MODELS or (path.startswith(_MODEL_PREFIX) and path != _MODEL_PREFIX)


def find(method: str, path: str) -> Route | str:
    """Return the route, or for the model listing the name asked for (empty: all).

    Raises:
        NotFoundError: the path is not a route.
        MethodNotAllowedError: the route does not take the method; `allow` names the one it takes.
    """
    route = ROUTES.get(path)
    if route is not None:
        if method != "POST":
            raise _wrong_method(method, path, "POST")
        return route
    if not is_known(path):
        raise NotFoundError(
            f"{path[:200]} is not a route of this gateway.",
            remedy=f"Use one of {', '.join([*ROUTES, MODELS])}.",
        )
    if method != "GET":
        raise _wrong_method(method, path, "GET")
    name = path[len(_MODEL_PREFIX) :]  # the listener decoded it
    if len(name) > MAX_MODEL_NAME or not name.isprintable():
        raise NotFoundError(f"{path[:40]!r} names no model.", remedy=f"GET {MODELS} lists the models you may use.")
    return name


def _wrong_method(method: str, path: str, allowed: str) -> MethodNotAllowedError:
    return MethodNotAllowedError(
        f"{path[:200]} does not take {method[:20]}.",
        remedy=f"Use {allowed}.",
        headers=[(b"allow", allowed.encode())],
    )
