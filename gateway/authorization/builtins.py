"""The Rego builtins that policies may call: pure, bounded, and the same in every engine.

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
    object.filter object.get object.keys object.remove object.subset object.union object.union_n
    concat contains endswith format_int indexof lower replace split sprintf startswith
    strings.any_prefix_match strings.any_suffix_match strings.count strings.replace_n strings.reverse
    substring to_number trim trim_left trim_prefix trim_right trim_space trim_suffix upper
    glob.match glob.quote_meta regex.match
    is_array is_boolean is_null is_number is_object is_set is_string type_name
    """.split()  # noqa: SIM905 - a list of words reads as one
)

BUILTIN_NAMESPACES = frozenset(
    """
    array base64 base64url bits crypto glob graph graphql hex http internal io json net numbers object opa
    providers rand regex rego semver strings time trace units urlquery uuid yaml
    """.split()  # noqa: SIM905
)
"""First parts of the dotted names of builtins, allowed or not."""
