"""The Rego builtins that policies may call: pure, bounded, and for the embedded engine those it has exactly as OPA.

Not here: the network, the clock, randomness, the engine's own environment, cryptography and tokens, printing.
A decision can then be made again from its record, years later, by any Rego engine.
"""

ALLOWED_BUILTINS = frozenset(
    """
    abs ceil floor round numbers.range
    count max min product sort sum
    array.concat array.reverse array.slice
    intersection union
    json.filter json.remove
    object.filter object.get object.keys object.remove object.union object.union_n
    concat contains endswith format_int replace split startswith
    strings.any_prefix_match strings.any_suffix_match strings.reverse
    substring trim trim_left trim_prefix trim_right trim_space trim_suffix
    glob.match regex.match
    is_array is_boolean is_null is_number is_object is_set is_string type_name
    """.split()  # noqa: SIM905 - a list of words reads as one
)
"""What the embedded engine evaluates, of some in the forms only that `gateway.authorization.rego_exact` names."""

OPA_BUILTINS = ALLOWED_BUILTINS | frozenset(
    """
    base64.decode base64.encode bits.and bits.lsh bits.negate bits.or bits.rsh bits.xor glob.quote_meta
    hex.decode hex.encode indexof json.is_valid json.marshal json.unmarshal lower
    net.cidr_contains object.subset regex.find_n regex.is_valid regex.replace regex.split
    semver.compare semver.is_valid sprintf strings.count strings.replace_n time.parse_duration_ns
    time.parse_rfc3339_ns to_number units.parse units.parse_bytes upper urlquery.decode urlquery.encode walk
    """.split()  # noqa: SIM905
)
"""What policies may call that OPA decides by: pure as well, but the embedded engine differs in them somewhere."""

BUILTIN_NAMESPACES = frozenset(
    """
    array base64 base64url bits crypto glob graph graphql hex http internal io json net numbers object opa
    providers rand regex rego semver strings time trace units urlquery uuid yaml
    """.split()  # noqa: SIM905
)
"""First parts of the dotted names of builtins, allowed or not."""
