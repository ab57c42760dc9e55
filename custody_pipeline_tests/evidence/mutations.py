"""Every simple way to change a folder, one at a time, and undone afterwards.

Belongs here: changes that know nothing of the format but that some files are JSON. Does not: what they must lead to.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

Change = Callable[[Path], object]
"""Changes the file at a path."""

JSON_VALUES: tuple[Any, ...] = (None, True, 0, -1, 1.5, 2**63, "", "x\n\x1b[2J", [], {}, [None], {"a": 1}, "9" * 400)


def file_changes(file: Path, sibling: Path) -> Iterator[tuple[str, Change]]:
    """Names of changes to a file, and the changes.

    Args:
        file: as it is.
        sibling: another file of the same folder tree.
    """
    size = file.stat().st_size
    yield "removed", Path.unlink
    yield "emptied", lambda path: path.write_bytes(b"")
    yield "truncated", lambda path: os.truncate(path, size - 1)
    yield "halved", lambda path: os.truncate(path, size // 2)
    yield "extended by NUL", lambda path: os.truncate(path, size + 1)
    yield "extended by a line", lambda path: path.write_bytes(path.read_bytes() + b"\n")
    yield "made huge", lambda path: os.truncate(path, 1 << 40)
    yield "doubled", lambda path: path.write_bytes(path.read_bytes() * 2)
    for part in range(8):
        yield f"flipped in part {part}", partial(_flip, size * part // 8)
    yield "flipped at its end", partial(_flip, size - 1)
    yield "exchanged for another", lambda path: path.write_bytes(sibling.read_bytes())
    yield "copied under another name", lambda path: shutil.copyfile(path, path.with_name(f"{path.name}.2"))
    yield "renamed", lambda path: path.rename(path.with_name(f"{path.name}2"))
    if file.name.swapcase() != file.name:
        yield "renamed by case", lambda path: path.rename(path.with_name(path.name.swapcase()))
    yield (
        "renamed by Unicode form",
        lambda path: path.rename(path.with_name(path.name.replace("c", "\uff43", 1) + "\uff0e")),
    )
    yield "made a folder", _made_folder
    yield "made an empty folder", partial(_replaced, Path.mkdir)
    yield "made a link", _made_link
    yield "made a link to a folder", partial(_replaced, lambda path: path.symlink_to("/"))
    yield "made a pipe", partial(_replaced, os.mkfifo)


def json_changes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Every node of a JSON document exchanged for another value; every member removed, renamed, there twice, added."""
    try:
        document = json.loads(data)
    except ValueError:
        return
    for path, parent, key in _nodes(document, ()) if isinstance(document, dict | list) else ():
        before = parent[key]
        for value in JSON_VALUES:
            if value != before or type(value) is not type(before):
                parent[key] = value
                yield f"{path}: {value!r:.20}", json.dumps(document).encode()
        if isinstance(parent, dict):
            del parent[key]
            yield f"{path}: removed", json.dumps(document).encode()
            parent["x"] = before
            yield f"{path}: renamed", json.dumps(document).encode()
            del parent["x"]
        parent[key] = before
        if isinstance(parent, dict):
            parent["twice"] = not before
            yield f"{path}: twice", json.dumps(document).replace('"twice"', json.dumps(key)).encode()
            del parent["twice"]
    if isinstance(document, dict):
        yield "a member more", json.dumps(document | {"x": 1}).encode()


def _nodes(parent: Any, path: tuple[object, ...]) -> Iterator[tuple[str, Any, Any]]:
    keys = list(parent) if isinstance(parent, dict) else range(len(parent))
    for key in keys:
        yield "/".join(map(str, (*path, key))), parent, key
        if isinstance(parent[key], dict | list):
            yield from _nodes(parent[key], (*path, key))


def _replaced(make: Change, path: Path) -> None:
    path.unlink()
    make(path)


def _flip(at: int, path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _made_folder(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.mkdir()
    (path / path.name).write_bytes(data)


def _made_link(path: Path) -> None:
    moved = path.parents[len(path.parents) - 2] / f"moved-{os.getpid()}"
    moved.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(moved)


@contextmanager
def changed(original: Path, copy: Path, file: Path, change: Change) -> Iterator[None]:
    """A copy of a folder with one change to one file; the copy is as the original afterwards.

    Args:
        original: the folder, which nobody changes.
        copy: the copy.
        file: relative to both.
        change: to be made in the copy.
    """
    change(copy / file)
    try:
        yield
    finally:
        folder = (copy / file).parent
        for path in folder.iterdir():
            if path.is_symlink() or not path.is_dir():
                path.unlink()
            elif not (original / path.relative_to(copy)).is_dir():
                shutil.rmtree(path)
        for path in (original / file).parent.iterdir():
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
