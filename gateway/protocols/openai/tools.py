"""The tools a request offers to the model: their names, for the policy; none that a server would run."""

import re

import orjson

from gateway.protocols.openai.parameters import refused
from gateway.protocols.openai.seen import Seen

MAX_TOOLS = 512
"""Most tools offered in one request."""

MAX_NAME_BYTES = 12_288
"""Most bytes of their names together, so that an audit record has room for them, also once for each in a delegation."""

_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}", re.ASCII)
"""Names go into the policy's input and the audit record, so they are short and plain."""


def read_tools(tools: object, where: str, seen: Seen, *, flat: bool) -> None:
    """Collect the names of the tools offered. `flat`: the name stands beside the type (responses).

    Raises:
        RequestError: `tools_invalid`; `tool_type_refused` for tools that the model server would run itself.
    """
    if tools is None:
        return
    if type(tools) is not list or len(tools) > MAX_TOOLS:
        raise refused(where, f"{where} is not a list of at most {MAX_TOOLS} tools.", "", "tools_invalid")
    for index, tool in enumerate(tools):
        place = f"{where}[{index}]"
        kind = tool.get("type") if type(tool) is dict else None
        if kind != "function" and kind != "custom":  # noqa: PLR1714 - a type is any JSON value, also unhashable
            raise refused(
                place,
                f'{place} has the type "{str(kind)[:40]}": a tool that the model server would run itself.',
                'Offer tools of the type "function" or "custom", which your own code runs.',
                "tool_type_refused",
            )
        holder = tool if flat else tool.get(kind)
        _add_tool(holder.get("name") if type(holder) is dict else None, place, seen)
    if tools:
        seen.extra += 2 * len(orjson.dumps(tools, option=orjson.OPT_INDENT_2))


def read_functions(functions: object, seen: Seen) -> None:
    """Collect the names of functions offered in the older form.

    Raises:
        RequestError: `tools_invalid`.
    """
    if functions is None:
        return
    if type(functions) is not list or len(functions) > MAX_TOOLS:
        raise refused("functions", f"functions is not a list of at most {MAX_TOOLS}.", "", "tools_invalid")
    for index, function in enumerate(functions):
        name = function.get("name") if type(function) is dict else None
        _add_tool(name, f"functions[{index}]", seen)
    if functions:
        seen.extra += 2 * len(orjson.dumps(functions, option=orjson.OPT_INDENT_2))


def _add_tool(name: object, place: str, seen: Seen) -> None:
    if type(name) is not str or not _NAME.fullmatch(name):
        raise refused(
            place,
            f"{place} has no name of 1 to 128 of A-Z, a-z, 0-9, '_', '-', '.', ':' and '/'.",
            "Name each tool.",
            "tools_invalid",
        )
    seen.tool_bytes += len(name)
    if seen.tool_bytes > MAX_NAME_BYTES:
        raise refused(
            place,
            f"The names of the tools are longer than {MAX_NAME_BYTES} bytes together.",
            "Offer fewer tools, or give them shorter names.",
            "tools_invalid",
        )
    seen.tools.append(name)
