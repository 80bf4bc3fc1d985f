"""Verifies the tree against the chains: each leaf is the record in its place, and the tiles lead to the signed root."""

from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache

from audit.chain import Head
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.errors import TileMissingError
from audit.tlog.merkle import root_of
from audit.tlog.tiles import HASH_BYTES, WIDTH, TileStorage, TileTree, tile_path
from audit.tree.state import Run
from audit.verification.findings import ChainReport, Finding
from audit.verification.ranges import RangeResult

MAX_FINDINGS = 1000
"""Findings about single leaves and tiles that are kept; further ones say nothing new."""


class TreeCheck:
    """Compares ranges of chains, as they are verified, with the leaves of the tree; then the tiles with the root.

    Attributes:
        findings: what is wrong.
        compared: number of leaves that were compared with their records.
        deleted: number of leaves whose records were deleted by retention.
    """

    def __init__(self, storage: TileStorage, checkpoint: Checkpoint, runs: Iterable[Run], start: int = 0) -> None:
        """Begin.

        Args:
            storage: the tiles.
            checkpoint: the signed tree.
            runs: which records are the leaves from `start` to the checkpoint's size.
            start: leaves before it were verified before, with an older checkpoint that this one continues.
        """
        self.findings: list[Finding] = []
        self.compared = 0
        self.deleted = 0
        self._storage = storage
        self._checkpoint = checkpoint
        self._start = start
        self._runs: dict[str, list[Run]] = {}
        self._compared: dict[str, int] = {}
        self._heads: dict[str, Head] = {}
        self._tile = lru_cache(maxsize=1024)(self._read_tile)
        self._take(runs)

    def sink(self, result: RangeResult) -> None:
        """Compare the records of a range with their leaves."""
        runs = self._runs.get(result.chain, [])
        stop = result.first + len(result.hashes) // HASH_BYTES
        at = max(bisect_right(runs, result.first, key=lambda run: run.first_seq) - 1, 0)
        for run in runs[at:]:
            first, last = max(run.first_seq, result.first), min(run.first_seq + run.count, stop)
            if run.first_seq >= stop:
                break
            if first < last:
                begin = (first - result.first) * HASH_BYTES
                hashes = result.hashes[begin : begin + (last - first) * HASH_BYTES]
                self._compare(result.chain, first, run.first_index + first - run.first_seq, hashes)

    def finish(self, reports: Iterable[ChainReport]) -> None:
        """Check that every leaf has its record, the chains' heads in the checkpoint, the tiles and the root."""
        by_chain = {report.chain: report for report in reports}
        for chain, runs in sorted(self._runs.items()):
            report = by_chain.get(chain) or ChainReport(chain)
            leaves = sum(run.count for run in runs)
            deleted = sum(max(0, min(run.count, report.kept_from - run.first_seq)) for run in runs)
            self.deleted += deleted
            leaves -= deleted
            found = self._compared.get(chain, 0)
            if found < leaves:
                self._note("leaf", -1, f"the tree has {leaves - found} records of the chain {chain} that it lacks")
        try:
            self._check_tiles()
            if TileTree(self._storage, self._checkpoint.size).root() != self._checkpoint.root:
                self._note("root", -1, "the tiles lead to another root than the one that was signed")
        except TileMissingError as error:
            self._note("tile", -1, f"a tile is missing: {error}")

    def _take(self, runs: Iterable[Run]) -> None:
        """Sort the runs by chain; together they have to be all leaves, each once."""
        index, following = self._start, dict[str, int]()
        for run in runs:
            if run.first_index != index or run.first_seq != following.get(run.chain, run.first_seq):
                self._note("order", run.first_index, "the order of the tree has a gap, or takes a record twice")
            index = run.first_index + run.count
            following[run.chain] = run.first_seq + run.count
            self._runs.setdefault(run.chain, []).append(run)
        if index != self._checkpoint.size:
            size = self._checkpoint.size
            self._note("order", -1, f"{size} leaves were signed, and the order is known of {index}")

    def _compare(self, chain: str, sequence: int, index: int, hashes: bytes) -> None:
        count = len(hashes) // HASH_BYTES
        self._compared[chain] = self._compared.get(chain, 0) + count
        self.compared += count
        try:
            leaves = self._leaves(index, count)
        except TileMissingError as error:
            self._note("tile", index, f"a tile is missing: {error}")
            return
        if leaves == hashes:
            return
        for at in range(count):
            part = slice(at * HASH_BYTES, (at + 1) * HASH_BYTES)
            if leaves[part] != hashes[part]:
                self._note("leaf", index + at, f"the leaf is another than record {sequence + at} of the chain {chain}")

    def _leaves(self, index: int, count: int) -> bytes:
        first, last = index // WIDTH, (index + count - 1) // WIDTH
        data = b"".join(self._tile(0, number) for number in range(first, last + 1))
        begin = (index - first * WIDTH) * HASH_BYTES
        return data[begin : begin + count * HASH_BYTES]

    def _read_tile(self, level: int, number: int) -> bytes:
        """Return the hashes of a tile that belong to the tree of the checkpoint's size."""
        width = min(WIDTH, (self._checkpoint.size >> (8 * level)) - number * WIDTH)
        try:
            data = self._storage.read(tile_path(level, number, width))
        except TileMissingError:
            if width == WIDTH:
                raise
            data = self._storage.read(tile_path(level, number))
        if len(data) < width * HASH_BYTES:
            raise TileMissingError(f"{tile_path(level, number, width)} is cut short")
        return data[: width * HASH_BYTES]

    def _check_tiles(self) -> None:
        """Check that each hash of a tile is the root of the full tile below it."""
        level, count, first = 0, self._checkpoint.size, self._start // WIDTH
        while count > WIDTH - 1:
            roots = []
            for number in range(first, count // WIDTH):
                data = self._tile(level, number)
                roots.append(root_of([data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]))
            for number, root in enumerate(roots, first):
                tile = self._tile(level + 1, number // WIDTH)
                begin = number % WIDTH * HASH_BYTES
                if tile[begin : begin + HASH_BYTES] != root:
                    path = tile_path(level + 1, number // WIDTH)
                    self._note("tile", number, f"{path} has another hash than {tile_path(level, number)} leads to")
            level, count, first = level + 1, count // WIDTH, first // WIDTH

    def _note(self, rule: str, index: int, message: str) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(rule, "", index, message))
