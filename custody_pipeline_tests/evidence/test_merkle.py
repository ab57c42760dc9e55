from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custody_pipeline.evidence.cut.records import leaf_hash
from custody_pipeline.evidence.log.merkle import (
    EMPTY_ROOT,
    Frontier,
    ProofError,
    consistency_proof,
    inclusion_proof,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from custody_pipeline.evidence.log.tiles import TileError, TileTree, append, tile_path, tile_paths
from custody_pipeline_tests.evidence.memory_reader import MemoryReader

LEAVES = [hashlib.sha256(str(number).encode()).digest() for number in range(1200)]


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, as it is written there."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY_ROOT
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(naive_root(leaves[:split]), naive_root(leaves[split:]))


def grown(*steps: int) -> tuple[dict[str, bytes], TileTree]:
    """A log that grew in steps: all its files, and its tree."""
    files: dict[str, bytes] = {}
    reader, size = MemoryReader(files), 0
    for step in steps:
        _, tiles = append(TileTree(reader, size), LEAVES[size : size + step])
        files.update({f"log/{path}": data for path, data in tiles.items()})
        size += step
    return files, TileTree(reader, size)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=3))
def test_a_log_grown_in_steps_is_the_tree_of_all_its_leaves(steps: list[int]) -> None:
    files, tree = grown(*steps)

    assert tree.root() == tree.frontier().root() == naive_root(LEAVES[: tree.size])
    assert list(tree.leaves(0, tree.size)) == LEAVES[: tree.size]
    assert {f"log/{tile_path(*tile)}" for tile in tile_paths(tree.size)} <= set(files)
    size = 0
    for step in steps:
        size += step
        assert tree.root(size) == naive_root(LEAVES[:size])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1200).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))))
def test_a_leaf_is_proven_and_no_other(size_and_index: tuple[int, int]) -> None:
    size, index = size_and_index
    _, tree = grown(size)
    proof = inclusion_proof(tree.node, index, size)

    verify_inclusion(LEAVES[index], index, size, proof, tree.root())
    for leaf, place, path in (
        (bytes(32), index, proof),
        (LEAVES[index], index + 1, proof),
        (LEAVES[index], index, [*proof, bytes(32)]),
        (LEAVES[index], index, [bytes(32), *proof[1:]] if proof else [bytes(32)]),
        (LEAVES[index], index, proof[:-1] if proof else [bytes(32)]),
    ):
        with pytest.raises(ProofError):
            verify_inclusion(leaf, place, size, path, tree.root())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1200).flatmap(lambda size: st.tuples(st.integers(1, size), st.just(size))))
def test_growth_is_proven_and_nothing_else(old_and_new: tuple[int, int]) -> None:
    old, new = old_and_new
    _, tree = grown(new)
    proof = consistency_proof(tree.node, old, new)

    verify_consistency(old, new, proof, tree.root(old), tree.root())
    for old_root, new_root, path in (
        (bytes(32), tree.root(), proof),
        (tree.root(old), bytes(32), proof),
        (tree.root(old), tree.root(), [*proof, bytes(32)]),
        (tree.root(old), tree.root(), [*proof[:-1], bytes(32)]),
    ):
        with pytest.raises(ProofError):
            verify_consistency(old, new, path, old_root, new_root)


def test_the_trees_of_certificate_transparency_have_their_published_roots() -> None:
    """The eight inputs and roots of certificate-transparency's reference tests."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
    frontier = Frontier()
    assert frontier.root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for data, root in zip(inputs, roots, strict=True):
        frontier.extend([leaf_hash(bytes.fromhex(data))])
        assert frontier.root().hex() == root


def test_tile_paths_are_those_of_the_specification() -> None:
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path(1, 0, 17) == "tile/1/000.p/17"
    tiles = list(tile_paths(70_000))
    assert len([tile for tile in tiles if tile[0] == 0]) == 274
    assert tiles[-4:] == [(0, 273, 112), (1, 0, 256), (1, 1, 17), (2, 0, 1)]
    assert list(tile_paths(256)) == [(0, 0, 256), (1, 0, 1)]


def test_appending_writes_in_proportion_to_the_new_leaves() -> None:
    files: dict[str, bytes] = {}
    reader = MemoryReader(files)
    tree, first = append(TileTree(reader, 0), LEAVES * 100)
    files.update({f"log/{path}": data for path, data in first.items()})

    _, second = append(TileTree(reader, tree.size), LEAVES[:1])

    assert len(first) > 400
    assert len(second) <= 3


def test_a_tile_that_is_missing_or_short_is_an_error() -> None:
    files, tree = grown(300)
    short = dict(files) | {"log/tile/0/000": files["log/tile/0/000"][:-32]}
    del files["log/tile/0/000"]

    with pytest.raises(TileError, match="missing"):
        tree.tile(0, 0)
    with pytest.raises(TileError, match="8160 bytes"):
        TileTree(MemoryReader(short), 300).tile(0, 0)
