"""The tiles of the log: whether they lead to the signed root, and whether other files are among them.

Belongs here: everything that reads tiles as a whole. Does not: what the leaves are (published_set.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice

from custody_pipeline.evidence.cut.seal import HEAD, LOG
from custody_pipeline.evidence.log.checkpoint import Head
from custody_pipeline.evidence.log.cosignatures import COSIGNED
from custody_pipeline.evidence.log.merkle import HASH_BYTES, complete_root
from custody_pipeline.evidence.log.tiles import (
    CACHED_TILES,
    TILE_PREFIX,
    WIDTH,
    TileError,
    TileTree,
    levels,
    tile_path,
    tile_paths,
)
from custody_pipeline.evidence.reader import Entry, TargetError
from custody_pipeline.evidence.verify.context import Context
from custody_pipeline.evidence.verify.one_cut import CheckedCut
from custody_pipeline.evidence.verify.removals import UNKNOWN_CUT

_TILE_WORKERS = 16

Tile = tuple[int, int, int]
"""Level, index and width."""


def sound_tree(context: Context, other: Mapping[str, Entry], head: Head) -> TileTree | None:
    """The tree of the tiles; None with findings unless every tile is there and all lead to the signed root.

    The number of tiles follows from the signed size. Nothing is read when fewer files are listed than that, so that a
    huge size costs nothing.
    """
    listed = {path: entry for path, entry in other.items() if path.startswith(LOG + TILE_PREFIX)}
    if (asked := sum(-(-hashes // WIDTH) for _, hashes in levels(head.size))) > len(listed):
        missing = next(path for path in map(_path, tile_paths(head.size)) if path not in listed)
        context.report.add("TILE_MISSING", missing, f"{head.size} leaves have {asked} tiles, {len(listed)} are there")
        return None
    wrong = [tile for tile in tile_paths(head.size) if not _is_listed(context, listed, tile)]
    if wrong:
        return None
    tree = TileTree(context.reader, head.size, LOG)
    try:
        return tree if _leads_to_root(context, tree, head) else None
    except TileError as error:
        context.report.add("TILE_WRONG", LOG, str(error))
    except (TargetError, OSError) as error:
        context.report.add("FILE_UNREADABLE", LOG, str(error))
    return None


def _path(tile: Tile) -> str:
    return LOG + tile_path(*tile)


def _is_listed(context: Context, listed: Mapping[str, Entry], tile: Tile) -> bool:
    path, size = _path(tile), tile[2] * HASH_BYTES
    if path not in listed:
        context.report.add("TILE_MISSING", path)
    elif listed[path].size != size:
        context.report.add("TILE_WRONG", path, f"{size} bytes asked for, {listed[path].size} found")
    else:
        return True
    return False


def _leads_to_root(context: Context, tree: TileTree, head: Head) -> bool:
    """Recompute every tile above the leaves, and the root."""
    report = context.report
    roots: dict[tuple[int, int], bytes] = {}
    sound = True
    for level, index, width in fetched(tree, tile_paths(tree.size)):
        report.total["tiles"] += 1
        data = tree.tile(level, index)
        hashes = [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]
        below = [roots.get((level - 1, index * WIDTH + i)) for i in range(width)] if level else hashes
        if any(lower is not None and lower != upper for lower, upper in zip(below, hashes, strict=True)):
            report.add("TILE_WRONG", _path((level, index, width)), "its hashes are not those of the tiles below")
            sound = False
            continue
        if width == WIDTH:
            roots[level, index] = complete_root(hashes)
        report.valid["tiles"] += 1
    if sound and tree.root() != head.root:
        report.add("LOG_ROOT_WRONG", HEAD, f"root {head.root.hex()} signed, the tiles lead to {tree.root().hex()}")
        sound = False
    return sound


def fetched(tree: TileTree, tiles: Iterable[Tile]) -> Iterator[Tile]:
    """The tiles, in order, many read at a time: the log of a year has a hundred thousand."""

    def fetch(tile: Tile) -> None:
        with suppress(TileError, TargetError, OSError):  # the caller asks for the tile again and meets the error
            tree.tile(*tile[:2])

    waiting = iter(tiles)
    with ThreadPoolExecutor(_TILE_WORKERS) as pool:
        while part := list(islice(waiting, CACHED_TILES // 2)):
            list(pool.map(fetch, part))
            yield from part


def check_log_files(context: Context, other: Mapping[str, Entry], head: Head, known: Sequence[CheckedCut]) -> None:
    """Files under log/ and cuts/ that belong to nothing. Partial tiles of earlier heads may stay, if they are true."""
    report, tree = context.report, context.tree
    now = set(map(_path, tile_paths(head.size))) if tree else set()
    sizes = {item.cut.log.size for item in known if item.cut.log.size < head.size}
    earlier = {_path(tile): tile for size in sizes for tile in _right_edge(size)}
    for path, entry in sorted(other.items()):
        tile = earlier.get(path)
        if path.startswith("cuts/"):
            report.add("FILE_EXTRA", path)
        elif not path.startswith(LOG) or path.startswith(COSIGNED) or path == HEAD or path in now:
            continue
        elif not path.startswith(LOG + TILE_PREFIX):
            report.add("FILE_EXTRA", path)
        elif tree is not None and tile is None:
            if not report.unread(*UNKNOWN_CUT):
                report.add("TILE_UNEXPECTED", path)
        elif tree is not None and tile is not None and _is_listed(context, other, tile):
            data = context.read(path, "TILE_MISSING")
            try:
                if data is not None and data != tree.tile(*tile[:2])[: entry.size]:
                    report.add("TILE_WRONG", path, "a tile of an earlier head is not a part of this log")
            except (TileError, TargetError, OSError) as error:
                report.add("FILE_UNREADABLE", path, str(error))


def _right_edge(size: int) -> Iterator[Tile]:
    """The partial tiles of a tree."""
    return ((level, hashes // WIDTH, hashes % WIDTH) for level, hashes in levels(size) if hashes % WIDTH)
