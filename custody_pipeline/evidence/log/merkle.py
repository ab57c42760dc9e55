"""Merkle trees of RFC 6962: hashes, inclusion and consistency proofs, and their verification.

Belongs here: arithmetic on 32-byte hashes. Does not: storing hashes (tiles.py), signing them (checkpoint.py).

A subtree is *complete* when it has 2^level leaves and starts at a multiple of 2^level; it is written (level, index).
Every function that builds something takes a `node(level, index)` that returns the hash of a complete subtree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of a tree without leaves (RFC 6962, 2.1)."""

Node = Callable[[int, int], bytes]


class ProofError(ValueError):
    """A proof does not prove what it is given for. The message says which step failed."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962, 2.1: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def complete_root(hashes: Sequence[bytes]) -> bytes:
    """Root over 2^k hashes of equal level."""
    level = list(hashes)
    if not level or len(level) & (len(level) - 1):
        raise ValueError(f"{len(level)} hashes are not a complete subtree")
    while len(level) > 1:
        level = [node_hash(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


def complete_subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """The fewest complete subtrees (level, index) that make up leaves [start, end), left to right."""
    subtrees = []
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        subtrees.append((level, start >> level))
        start += 1 << level
    return subtrees


def range_root(node: Node, start: int, end: int) -> bytes:
    """Hash of leaves [start, end) as a node of a tree: `start` must be a multiple of the size's next power of two."""
    size = end - start
    if not size:
        return EMPTY_ROOT
    if size & (size - 1) == start % size == 0:
        level = size.bit_length() - 1
        return node(level, start >> level)
    return fold([node(level, index) for level, index in complete_subtrees(start, end)])


def fold(hashes: Sequence[bytes]) -> bytes:
    """Root of a tree from the hashes of its complete subtrees, left to right (`complete_subtrees(0, size)`)."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


class Frontier:
    """The right edge of a tree: enough to append leaves and to know the root, in O(log n) memory."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """`hashes` are those of `complete_subtrees(0, size)`."""
        if size < 0 or len(hashes) != size.bit_count() or any(len(item) != HASH_BYTES for item in hashes):
            raise ProofError(f"a tree of {size} leaves has {size.bit_count()} hashes of 32 bytes at its edge")
        self.size = size
        self.hashes = list(hashes)

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes, level by level."""
        nodes = list(leaves)
        old, new = self.size, []
        self.size += len(nodes)
        while nodes or old:
            if old & 1:
                nodes.insert(0, self.hashes.pop())
            if len(nodes) & 1:
                new.append(nodes.pop())
            nodes = [node_hash(left, right) for left, right in zip(nodes[::2], nodes[1::2], strict=True)]
            old >>= 1
        self.hashes = new[::-1]

    def root(self) -> bytes:
        """Root of the tree as it is now."""
        return fold(self.hashes)


def inclusion_proof(node: Node, index: int, size: int) -> list[bytes]:
    """RFC 6962, 2.1.1: the path from leaf `index` to the root of the tree of `size` leaves, leaf's sibling first."""
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size} leaves")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(range_root(node, middle, end))
            end = middle
        else:
            path.append(range_root(node, start, middle))
            start = middle
    return path[::-1]


def consistency_proof(node: Node, old: int, new: int) -> list[bytes]:
    """RFC 6962, 2.1.2: that the tree of `old` leaves is a prefix of the tree of `new` leaves."""
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {old} leaves cannot be a prefix of one of {new}")
    if old in (0, new):
        return []
    proof: list[bytes] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(range_root(node, middle, end))
            end = middle
        else:
            proof.append(range_root(node, start, middle))
            start, whole = middle, False
    if not whole:
        proof.append(range_root(node, start, end))
    return proof[::-1]


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` is number `index` of the tree (`size`, `root`) (RFC 9162, 2.1.3.2).

    Raises:
        ProofError: it is not, or the proof does not show it.
    """
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size} leaves")
    _check_hashes([leaf, *proof])
    found = leaf
    for sibling, is_left in _on_the_way(index, size - 1, proof):
        found = node_hash(sibling, found) if is_left else node_hash(found, sibling)
    if found != root:
        raise ProofError("the proof leads to another root")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the tree (`old`, `old_root`) is a prefix of the tree (`new`, `new_root`) (RFC 9162, 2.1.4.2).

    Raises:
        ProofError: it is not, or the proof does not show it.
    """
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {old} leaves cannot be a prefix of one of {new}")
    _check_hashes(proof)
    if old == new:
        if proof:
            raise ProofError("no proof is needed, but one is given")
        if old_root != new_root:
            raise ProofError("two roots for one size")
        if old == 0 and old_root != EMPTY_ROOT:
            raise ProofError("a tree without leaves has one root only")
        return
    if old == 0:
        raise ProofError("every tree extends the empty one: that proves nothing")
    if not proof:
        raise ProofError("the proof is empty")
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    position, last = old - 1, new - 1
    while position & 1:
        position >>= 1
        last >>= 1
    first, second = path[0], path[0]
    for sibling, is_left in _on_the_way(position, last, path[1:]):
        if is_left:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
        else:
            second = node_hash(second, sibling)
    if first != old_root:
        raise ProofError("the proof does not lead to the old root")
    if second != new_root:
        raise ProofError("the proof does not lead to the new root")


def _on_the_way(position: int, last: int, siblings: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The siblings on the way to the root from the node at `position` of a level that ends at `last`; which are left.

    Raises:
        ProofError: there are more or fewer siblings than steps.
    """
    for sibling in siblings:
        if last == 0:
            raise ProofError("the proof is too long")
        is_left = bool(position & 1) or position == last
        yield sibling, is_left
        while is_left and not position & 1 and position:
            position >>= 1
            last >>= 1
        position >>= 1
        last >>= 1
    if last:
        raise ProofError("the proof is too short")


def _check_hashes(hashes: Iterable[bytes]) -> None:
    if any(len(item) != HASH_BYTES for item in hashes):
        raise ProofError("a hash is not 32 bytes long")
