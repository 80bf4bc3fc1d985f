"""Refuses what the embedded engine evaluates in another way than OPA, before anything is decided by it.

Each rule here answers a difference that `tests/integration/test_engines_agree.py` shows:

- Fractions, and division, which makes them: OPA counts in wider numbers than the embedded engine.
- `not` around a call or a comparison with a part that may be undefined: OPA takes the part out of the `not`, so that
  the whole is undefined; in the embedded engine it holds. `not a`, `not a == b` and `not a = b` are the same in both.
- `in` as a value where a part may be undefined: undefined in OPA, false in the embedded engine.
- An object built by rules for single keys (`a.b := 1`): undefined in the embedded engine where no rule applies.
- Patterns: classes of characters, odd repetitions and the like mean something else, or nothing, in one of them.
- The length of a string: the embedded engine counts some characters twice. What is counted is plainly a collection.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from gateway.errors import ConfigError

_WHOLE = re.compile(rb"-?[0-9]+")
_GLOB = re.compile(r"[A-Za-z0-9 ._/:@+*=,-]*")
_REGEX_CLASS = r"\[\^?(?:[A-Za-z0-9 _./:@,=+*?()|]|\\[].^$*+?(){}|/\[\\-]|[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9])+-?\]"
_REGEX = re.compile(
    rf"(?:(?:\((?:\?:)?|[|^$])(?![*+?{{])|(?:[^][\\(){{}}*+?|^$]|\\[].^$*+?(){{}}|/\[\\-]|\)|{_REGEX_CLASS})"
    r"(?:[*+?]\??|\{[0-9]{1,3}(?:,[0-9]{0,3})?\}\??)?)*"
)

_SURE_FUNCTIONS = frozenset({"count", "is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set"})
_SURE_FUNCTIONS |= {"is_string", "type_name", "startswith", "endswith", "contains", "concat", "object.get"}

_STRINGS = frozenset(
    """
    input.action input.principal.id input.principal.kind input.principal.team input.principal.owner
    input.principal.status input.principal.risk_tier input.resource.type input.resource.id input.resource.system
    input.resource.risk input.resource.region input.request.protocol input.context.region input.context.environment
    """.split()  # noqa: SIM905 - a list of words reads as one
)
_COLLECTION_PATHS = frozenset(
    """
    input.principal.roles input.principal.delegation input.principal.break_glass input.principal.attributes
    input.resource.data_classes input.request.tools input.request.data_classes
    """.split()  # noqa: SIM905
)
_ALWAYS = _STRINGS | _COLLECTION_PATHS | {"input.request.stream", "input.request.max_tokens"}
"""What the gateway always puts into the input (`gateway.authorization.input`)."""

_COLLECTIONS = frozenset({"Array", "Set", "Object", "ArrayCompr", "SetCompr", "ObjectCompr"})
_COLLECTION_CALLS = frozenset(
    """
    array.concat array.reverse array.slice intersection union numbers.range object.keys object.filter object.remove
    object.union object.union_n json.filter json.remove sort split
    """.split()  # noqa: SIM905
)
"""Terms, parts of the input and functions that are a collection or nothing."""

_VALUES = frozenset({"String", "RawString", "Number", "Bool", "Null", "ArrayCompr", "SetCompr", "ObjectCompr"})
"""Terms that always have a value, whatever is undefined inside."""

_ELSEWHERE = "or decide with OPA (policy.engine: opa)."


def check_exact(engine: Any) -> None:
    """Check that the modules of an engine mean the same in OPA.

    Raises:
        ConfigError: they may not; names file and line.
    """
    modules = orjson.loads(engine.get_ast_as_json())
    rules: dict[str, list[Any]] = {}
    for module in modules:
        rules.setdefault(_path(module["ast"]["package"]["refr"]), []).extend(module["ast"]["rules"])
    for module in modules:
        _Module(module, rules[_path(module["ast"]["package"]["refr"])]).check()


class _Module:
    """One module and the names in it that may be undefined."""

    def __init__(self, module: Any, rules: Iterable[Any]) -> None:
        self._file = module["source"]["file"]
        self._text = module["source"]["contents"].encode()
        self._rules = module["ast"]["rules"]
        self._unsure = {item["refr"]["RefDot"]["field"][1] for item in module["ast"]["imports"] if _dotted(item)}
        self._unsure |= {_alias(self._text, item) for item in module["ast"]["imports"] if item.get("as")}
        sure = set()
        for rule in rules:
            kind, head = _head(rule)
            name = _path(head["refr"]).partition(".")[0]
            if kind in {"Set", "Default"} and "Var" in head["refr"]:
                sure.add(name)
            self._unsure.add(name)
        self._unsure -= sure
        self._rule_collections = _rule_collections(rules)
        self._locals: dict[str, list[Any]] = {}

    def check(self) -> None:
        for rule in self._rules:
            kind, head = _head(rule)
            if kind == "Compr" and _fixed_key(head["refr"]):
                self._refuse(head, "an object built by rules for single keys", "write the object in one rule,")
            self._walk(rule)

    def _walk(self, rule: Any) -> None:
        self._locals = _assigned(rule, self._text)
        pending = [rule]
        while pending:
            node = pending.pop()
            if isinstance(node, list):
                pending.extend(node)
                continue
            if not isinstance(node, dict):
                continue
            for key, value in node.items():
                self._check_node(key, value)
                if key == "literal" and "Expr" in value and "Membership" in value["Expr"]["expr"]:
                    # A statement of its own: undefined and false both end it.
                    pending.extend(_parts("Membership", value["Expr"]["expr"]["Membership"]))
                    pending.append(node.get("with_mods"))
                elif key != "span":
                    pending.append(value)

    def _check_node(self, key: str, node: Any) -> None:
        if key == "Number":
            self._check_number(node)
        elif key == "ArithExpr" and node["op"] == "Div":
            self._refuse(node, "a division", "multiply the other side,")
        elif key == "NotExpr":
            self._check_negated(node)
        elif key == "Membership" and not all(map(self._sure, _parts(key, node))):
            self._refuse(
                node, "'in' as a value with a part that may be undefined", "give the part a name first (part := …),"
            )
        elif key == "Call":
            self._check_call(node)

    def _check_number(self, node: Any) -> None:
        span = node["span"]
        if not _WHOLE.fullmatch(self._text[span["start"] : span["end"]].strip()):
            self._refuse(node, "a number that is not written as a whole one", "use whole numbers,")

    def _check_negated(self, node: Any) -> None:
        negated = node["expr"]
        kind, inner = next(iter(negated.items()))
        if kind in {"Var", "RefDot", "RefBrack"}:
            sure = self._sure_indexes(negated)
        elif kind == "AssignExpr" or (kind == "BoolExpr" and inner["op"] == "Eq"):
            sure = all(self._sure_indexes(side) if _is_path(side) else self._sure(side) for side in _sides(inner))
        elif kind == "Call":
            sure = all(map(self._sure, inner["params"]))
        else:
            sure = self._sure(negated)
        if not sure:
            self._refuse(
                inner,
                "'not' around an expression with a part that may be undefined",
                "give the part a name first (part := …; not f(part)),",
            )

    def _check_call(self, node: Any) -> None:
        name, arguments = _path(node["fcn"]), node["params"]
        if name == "regex.match" and arguments:
            pattern = _text(arguments[0])
            if pattern is None or not _REGEX.fullmatch(pattern):
                self._refuse(node, f"the pattern of {name}", "write it out, of plain classes such as [a-z0-9],")
        elif name == "glob.match" and len(arguments) > 1:
            pattern, separators = _text(arguments[0]), _separators(arguments[1])
            exact = separators == "" if pattern is None else separators is not None and bool(_GLOB.fullmatch(pattern))
            if exact and separators and pattern and "**" in pattern:
                exact = False
            if not exact:
                self._refuse(node, f"the pattern of {name}", "use * and plain text, with null or one separator,")
        elif name in {"json.filter", "json.remove"} and len(arguments) > 1 and not _plain_paths(arguments[1]):
            self._refuse(node, f"the paths of {name}", "write them out, without ~,")
        elif name == "count" and arguments and not self._collection(arguments[0]):
            self._refuse(
                node,
                "the length of a string, which this may be,",
                "count [1 | some _ in …] instead, or ask with 'some … in …',",
            )

    def _collection(self, node: Any, seen: frozenset[str] = frozenset()) -> bool:
        """Whether a term is a collection wherever it has a value."""
        kind, inner = next(iter(node.items()))
        if kind == "Call":
            return _path(inner["fcn"]) in _COLLECTION_CALLS
        if kind == "BinExpr":  # of sets: the union, the intersection
            return True
        if kind == "Var":
            name = inner["value"]
            if name in self._locals:
                values = self._locals[name]
                return name not in seen and bool(values) and all(self._collection(v, seen | {name}) for v in values)
            return name in self._rule_collections
        return kind in _COLLECTIONS or _path(node) in _COLLECTION_PATHS

    def _sure(self, node: Any) -> bool:
        """Whether a term has a value whatever the input is."""
        kind, inner = next(iter(node.items()))
        if kind == "Var":
            return inner["value"] not in self._unsure and inner["value"] not in {"input", "data"}
        if kind in {"RefDot", "RefBrack"}:
            return _path(node) in _ALWAYS
        if kind == "Call":
            return _path(inner["fcn"]) in _SURE_FUNCTIONS and all(map(self._sure, inner["params"]))
        if kind in {"Array", "Set", "Object", "BoolExpr", "ArithExpr", "BinExpr", "Membership"}:
            return all(map(self._sure, _parts(kind, inner)))
        # What this does not know may be undefined.
        return kind in _VALUES

    def _sure_indexes(self, node: Any) -> bool:
        """Whether each computed step of a reference has a value; the reference itself need not."""
        while "Var" not in node:
            kind, inner = next(iter(node.items()))
            if kind == "RefBrack" and not self._sure(inner["index"]):
                return False
            if kind not in {"RefDot", "RefBrack"}:
                return False
            node = inner["refr"]
        return True

    def _refuse(self, node: Any, what: str, remedy: str) -> None:
        line = node["span"]["line"]
        raise ConfigError(
            f"{self._file}:{line}: {what} may mean something else in the embedded engine than in OPA; {remedy} "
            f"{_ELSEWHERE}"
        )


def _rule_collections(rules: Iterable[Any]) -> set[str]:
    """Return the rules of a package that are sets, or have only collections for values."""
    found: dict[str, bool] = {}
    for rule in rules:
        kind, head = _head(rule)
        if "Var" not in head["refr"]:
            continue
        name = head["refr"]["Var"]["value"]
        value = head["value"] if kind == "Default" else (head.get("assign") or {}).get("value")
        further = [] if "Default" in rule else [each["assign"] for each in rule["Spec"]["bodies"] if each["assign"]]
        values = [value, *(each["value"] for each in further)]
        good = kind == "Set" or all(each is not None and bool(each.keys() & _COLLECTIONS) for each in values)
        found[name] = found.get(name, True) and good and not head.get("args")
    return {name for name, good in found.items() if good}


def _assigned(rule: Any, text: bytes) -> dict[str, list[Any]]:
    """Return what each variable of a rule is assigned; nothing for one that is bound in another way as well."""
    found: dict[str, list[Any]] = {}
    otherwise = {each["Var"]["value"] for each in _head(rule)[1].get("args") or () if "Var" in each}
    pending = [rule]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            for key, value in node.items():
                if key == "AssignExpr" and value["op"] == "ColEq" and "Var" in value["lhs"]:
                    found.setdefault(value["lhs"]["Var"]["value"], []).append(value["rhs"])
                elif key == "AssignExpr":
                    otherwise |= _variables([value["lhs"], value["rhs"]])
                elif key == "SomeIn":
                    otherwise |= _variables([value["key"], value["value"]])
                elif key == "SomeVars":
                    otherwise |= {_slice(text, span) for span in value["vars"]}
                elif key == "Every":
                    otherwise |= {_slice(text, span) for span in (value["key"], value["value"]) if span}
                if key != "span":
                    pending.append(value)
    return {**found, **{name: [] for name in otherwise}}


def _variables(terms: list[Any]) -> set[str]:
    """Return the variables that stand by themselves, or in arrays and objects."""
    found: set[str] = set()
    pending = [term for term in terms if term is not None]
    while pending:
        kind, inner = next(iter(pending.pop().items()))
        if kind == "Var":
            found.add(inner["value"])
        elif kind in {"Array", "Set", "Object"}:
            pending.extend(_parts(kind, inner))
    return found


def _slice(text: bytes, span: Any) -> str:
    return text[span["start"] : span["end"]].decode(errors="replace")


def _head(rule: Any) -> tuple[str, Any]:
    if "Default" in rule:
        return "Default", rule["Default"]
    kind, head = next(iter(rule["Spec"]["head"].items()))
    return str(kind), head


def _fixed_key(refr: Any) -> bool:
    """Whether a rule's head names one key of an object."""
    if "RefDot" in refr:
        return True
    return "RefBrack" in refr and _text(refr["RefBrack"]["index"]) is not None


def _sides(node: Any) -> Iterator[Any]:
    yield node["lhs"]
    yield node["rhs"]


def _parts(kind: str, node: Any) -> list[Any]:
    """Return the terms that a term is made of."""
    if kind in {"Array", "Set"}:
        return list(node["items"])
    if kind == "Object":
        return [term for _, key, value in node["fields"] for term in (key, value)]
    if kind == "Membership":
        return [part for part in (node["key"], node["value"], node["collection"]) if part is not None]
    return list(_sides(node))


def _is_path(node: Any) -> bool:
    return bool(node.keys() & {"RefDot", "RefBrack", "Var"})


def _text(node: Any) -> str | None:
    for kind in ("String", "RawString"):
        if kind in node:
            return str(node[kind]["value"])
    return None


def _plain_paths(node: Any) -> bool:
    """Whether the paths of `json.remove` are written out; a `~` escapes in OPA only (RFC 6901, section 3)."""
    kind, inner = next(iter(node.items()))
    texts = [_text(item) for item in inner["items"]] if kind in {"Array", "Set"} else [None]
    return all(text is not None and "~" not in text for text in texts)


def _separators(node: Any) -> str | None:
    """Return the separator of a glob, empty for none, None where it is computed, long or one of several."""
    if "Null" in node:
        return ""
    items = [_text(item) for item in node["Array"]["items"]] if "Array" in node else [None]
    if not items:
        return ""
    only = items[0] if len(items) == 1 else None
    return only if only is not None and len(only) == 1 and only.isascii() else None


def _path(node: Any) -> str:
    """Return a reference as text, up to its first computed step from the right; empty if it is none."""
    parts: list[str] = []
    while "Var" not in node:
        if "RefDot" in node and node["RefDot"]["field"]:
            parts.append(str(node["RefDot"]["field"][1]))
            node = node["RefDot"]["refr"]
        elif "RefBrack" in node:
            parts.append(_text(node["RefBrack"]["index"]) or "[]")
            node = node["RefBrack"]["refr"]
        else:
            return ""
    parts.append(str(node["Var"]["value"]))
    return ".".join(reversed(parts))


def _dotted(item: Any) -> bool:
    return "RefDot" in item["refr"] and bool(item["refr"]["RefDot"]["field"])


def _alias(text: bytes, item: Any) -> str:
    return _slice(text, item["as"])
