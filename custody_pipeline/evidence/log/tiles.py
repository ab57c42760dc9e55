"""The log's hashes as C2SP tlog-tiles (https://c2sp.org/tlog-tiles): reading a tree, appending to it.

One deviation, on purpose: there are no entry bundles (`tile/entries/…`). An entry is a salted record, which holds a
call's data in clear. Bundles would disclose every call to anybody who may check one. The entries are in the cuts
(`data/records.ndjson` and `cut.json`); a single entry is handed over as a tlog-proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from custody_pipeline.evidence.log.merkle import (
    HASH_BYTES,
    Frontier,
    complete_root,
    complete_subtrees,
    node_hash,
    range_root,
)
from custody_pipeline.evidence.reader import NOTE_BYTES, Reader, TooLargeError, read

WIDTH = 256
"""Hashes in a full tile."""

HEIGHT = 8
CACHED_TILES = 512
"""Number of tiles that a tree keeps in memory, 8 KiB each."""

CACHED_NODES = 4096
"""Number of subtree hashes that a tree keeps in memory: the proofs of neighbouring leaves share nearly all hashes."""

TILE_PREFIX = "tile/"


class TileError(ValueError):
    """A tile is missing, or does not fit the tree's size."""


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """`tile/<L>/<N>[.p/<W>]`, relative to the log's prefix; index 1234067 is written `x001/x234/067`."""
    digits = f"{index % 1000:03d}"
    while index >= 1000:
        index //= 1000
        digits = f"x{index % 1000:03d}/{digits}"
    return f"{TILE_PREFIX}{level}/{digits}" + ("" if width == WIDTH else f".p/{width}")


def tile_paths(size: int) -> Iterator[tuple[int, int, int]]:
    """(level, index, width) of every tile that a tree of `size` leaves consists of."""
    for level, hashes in levels(size):
        for index in range(-(-hashes // WIDTH)):
            yield level, index, min(WIDTH, hashes - index * WIDTH)


def levels(size: int) -> Iterator[tuple[int, int]]:
    """(level, hashes) of each level of the tiles of a tree of `size` leaves."""
    level = 0
    while size:
        yield level, size
        level, size = level + 1, size // WIDTH


class TileTree:
    """A tree of a given size, read from tiles as they are needed.

    Args:
        prefix: the log's place in the reader, with a trailing slash.
        fresh: tiles that are not written yet (`tile/…` → bytes); they win over the reader's.

    Attributes:
        tile: (level, index) → the bytes of a tile of this tree, 32 per hash. Raises TileError if the tile is not there
            or has another length, TargetError if it could not be read.
        node: (level, index) → the hash of a complete subtree. Raises the same.
    """

    def __init__(self, reader: Reader, size: int, prefix: str = "log/", fresh: Mapping[str, bytes] | None = None):
        self._reader = reader
        self._prefix = prefix
        self._fresh = fresh or {}
        self.size = size
        self.tile = lru_cache(maxsize=CACHED_TILES)(self._tile)
        self.node = lru_cache(maxsize=CACHED_NODES)(self._node)

    def grown(self, size: int, fresh: Mapping[str, bytes]) -> TileTree:
        """The tree of `size` leaves whose new tiles are `fresh`."""
        return TileTree(self._reader, size, self._prefix, fresh)

    def _tile(self, level: int, index: int) -> bytes:
        width = min(WIDTH, (self.size >> HEIGHT * level) - index * WIDTH)
        if width <= 0:
            raise TileError(f"a tree of {self.size} leaves has no tile {index} at level {level}")
        for path in dict.fromkeys((tile_path(level, index, width), tile_path(level, index))):
            try:
                data = self._fresh[path] if path in self._fresh else self._read(path)
            except FileNotFoundError:
                continue
            if len(data) < width * HASH_BYTES or len(data) % HASH_BYTES:
                raise TileError(f"{self._prefix}{path} has {len(data)} bytes; {width * HASH_BYTES} are needed")
            return data[: width * HASH_BYTES]
        raise TileError(f"{self._prefix}{tile_path(level, index, width)} is missing")

    def _read(self, path: str) -> bytes:
        try:
            return read(self._reader, self._prefix + path, NOTE_BYTES)
        except TooLargeError as error:
            raise TileError(str(error)) from error

    def _node(self, level: int, index: int) -> bytes:
        if level % HEIGHT:
            return node_hash(self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1))
        tile, place = divmod(index, WIDTH)
        found = self.tile(level // HEIGHT, tile)[place * HASH_BYTES : (place + 1) * HASH_BYTES]
        if len(found) != HASH_BYTES:
            raise TileError(f"a tree of {self.size} leaves has no complete subtree ({level}, {index})")
        return found

    def root(self, size: int | None = None) -> bytes:
        """Root of the tree, or of the tree as it was at an earlier `size`."""
        return range_root(self.node, 0, self.size if size is None else size)

    def frontier(self) -> Frontier:
        """The right edge of the tree."""
        return Frontier(self.size, [self.node(level, index) for level, index in complete_subtrees(0, self.size)])

    def leaves(self, start: int, end: int) -> Iterator[bytes]:
        """The leaf hashes [start, end)."""
        for index in range(start // WIDTH, -(-end // WIDTH)):
            data = self.tile(0, index)
            first = max(start - index * WIDTH, 0)
            last = min(end - index * WIDTH, WIDTH)
            yield from (data[i * HASH_BYTES : (i + 1) * HASH_BYTES] for i in range(first, last))


def append(old: TileTree, leaves: Iterable[bytes]) -> tuple[TileTree, dict[str, bytes]]:
    """The tree after `leaves`, 32 bytes each, are added to it, and its new tiles by path (`tile/…`).

    Reads at most one partial tile a level and writes tiles in proportion to the new leaves.
    """
    tiles: dict[str, bytes] = {}
    level, count, fresh = 0, old.size, list(leaves)
    total = old.size + len(fresh)
    while fresh:
        partial = old.tile(level, count // WIDTH) if count % WIDTH else b""
        hashes = [partial[i : i + HASH_BYTES] for i in range(0, len(partial), HASH_BYTES)] + fresh
        index, parents = count // WIDTH, []
        for start in range(0, len(hashes), WIDTH):
            part = hashes[start : start + WIDTH]
            tiles[tile_path(level, index, len(part))] = b"".join(part)
            if len(part) == WIDTH:
                parents.append(complete_root(part))
                index += 1
        level, count, fresh = level + 1, count // WIDTH, parents
    return old.grown(total, tiles), tiles
