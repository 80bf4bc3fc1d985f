"""Finds the file and the line of an entry in the data files of a policy tree."""

from pathlib import PurePosixPath

import yaml

from gateway.authorization.policy_tree import PolicyTree

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class DataPlaces:
    """Looks places up by path of `data`. A file is parsed when the first entry of it is looked up.

    Args:
        tree: policies that load, so that their data files are known to be well-formed.
    """

    def __init__(self, tree: PolicyTree) -> None:
        self._tree = tree
        self._parsed: dict[str, yaml.Node | None] = {}
        self._indexed: dict[yaml.Node, dict[str | int, tuple[int, yaml.Node]]] = {}
        self._files = sorted(
            (name for name in tree.files if PurePosixPath(name).name in {"data.yaml", "data.json"}),
            key=lambda name: -len(PurePosixPath(name).parent.parts),
        )

    def find(self, *path: str | int) -> tuple[str, int]:
        """Return file and line of the deepest part of a path that is written down; no file and 0 if none is."""
        best: tuple[int, str, int] = (-1, "", 0)
        for name in self._files:
            above = PurePosixPath(name).parent.parts
            if path[: len(above)] != above:
                continue
            depth, line = self._deepest(name, path[len(above) :])
            best = max(best, (len(above) + depth, name, line))
        return best[1], best[2]

    def _deepest(self, name: str, path: tuple[str | int, ...]) -> tuple[int, int]:
        node = self._root(name)
        depth, line = 0, 1
        for step in path:
            if isinstance(node, yaml.MappingNode):
                found = self._entries(node).get(step)
                if found is None:
                    break
                line, node = found
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line + 1
            else:
                break
            depth += 1
        return depth, line

    def _entries(self, node: yaml.MappingNode) -> dict[str | int, tuple[int, yaml.Node]]:
        """Return line and value of each key, as texts: keys of policy tables are."""
        if node not in self._indexed:
            self._indexed[node] = {key.value: (key.start_mark.line + 1, value) for key, value in node.value}
        return self._indexed[node]

    def _root(self, name: str) -> yaml.Node | None:
        if name not in self._parsed:
            try:
                self._parsed[name] = yaml.compose(self._tree.files[name].decode(), Loader=_LOADER)
            except (yaml.YAMLError, UnicodeDecodeError):  # JSON that is no YAML, with tabs for instance
                self._parsed[name] = None
        return self._parsed[name]
