"""A disk that forgets: what may be left of a folder if the power fails after any file operation.

A file's bytes are safe once the file was synced, a folder's names once the folder was. What is not
safe may be there, be lost, be zeros, or be there in part; a rename is there or not, never half.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATA = ("lost", "kept", "zeros", "part")
NAMES = ("lost", "kept", "part")
Operation = tuple[Any, ...]
_CHANGING = ("open", "write", "pwrite", "ftruncate", "fsync", "mkdir", "replace", "unlink", "rmdir")


class RecordingOs:
    """A stand-in for the module ``os`` that notes what changes files, and syncs nothing.

    Attributes:
        trace: The operations, each a name and its arguments; descriptors are replaced by a number
            that is never used twice.
    """

    def __init__(self) -> None:
        self.trace: list[Operation] = []
        self._handles: dict[int, int] = {}

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._noting(name, real) if name in _CHANGING else real

    def mark(self, label: str, step: int = 0) -> None:
        """Note that something was promised: from here on it must survive."""
        self.trace.append(("promise", label, step))

    def _noting(self, name: str, real: Any) -> Any:
        def noted(first: Any, *rest: Any) -> Any:
            if name == "fsync":
                self.trace.append((name, self._handles[first]))
                return None
            found = real(first, *rest)
            if name == "open":
                self._handles[found] = len(self.trace)
                self.trace.append((name, Path(first), rest[0], len(self.trace)))
            elif name in ("write", "pwrite"):
                data = bytes(rest[0])[:found]
                self.trace.append((name, self._handles[first], data, *rest[1:]))
            elif name == "ftruncate":
                self.trace.append((name, self._handles[first], *rest))
            else:
                self.trace.append((name, Path(first), *map(Path, rest[: name == "replace"])))
            return found

        return noted


@dataclass(eq=False)
class File:
    """A file: what is safe, and the writes since."""

    safe: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def content(self, count: int | None = None) -> bytes:
        """Return the safe bytes with the first ``count`` pending writes (None: all)."""
        found = bytearray(self.safe)
        for offset, data in self.pending[:count]:
            if data is None:
                del found[offset:]
                continue
            found.extend(bytes(max(0, offset - len(found))))
            found[offset : offset + len(data)] = data
        return bytes(found)

    def after(self, mode: str, draw: random.Random) -> bytes:
        """Return what the disk may hold after the power failed."""
        if mode == "lost" or not self.pending:
            return self.safe
        if mode == "part":
            count = draw.randrange(len(self.pending))
            offset, data = self.pending[count]
            half = data and data[: draw.randint(0, len(data))]
            return File(self.safe, [*self.pending[:count], (offset, half)]).content()
        whole = self.content()
        return whole if mode == "kept" else self.safe[: len(whole)].ljust(len(whole), b"\0")


@dataclass(eq=False)
class Folder:
    """A folder: its names now, those that are safe, and every state in between."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    states: list[dict[str, File | Folder]] = field(default_factory=lambda: [{}])

    def changed(self) -> None:
        """Note a new state."""
        self.states.append(dict(self.names))

    def after(self, mode: str, draw: random.Random) -> dict[str, File | Folder]:
        """Return the names that the disk may hold after the power failed."""
        if mode == "part":
            return draw.choice(self.states)
        return self.states[0] if mode == "lost" else self.names


class Disk:
    """The folder ``root`` as a sequence of operations leaves it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = Folder()
        self._open: dict[int, tuple[File | Folder, int]] = {}

    def apply(self, operation: Operation) -> None:
        """Carry out one operation of a trace."""
        name, first, *rest = operation
        if name == "promise":
            return
        if name == "open":
            self._opened(first, *rest)
        elif name in ("write", "pwrite", "ftruncate"):
            file, at = self._open[first]
            assert isinstance(file, File)
            if name == "ftruncate":
                file.pending.append((rest[0], None))
            else:
                data, offset = rest[0], rest[1] if name == "pwrite" else at
                file.pending.append((offset, data))
                self._open[first] = file, offset + len(data)
        elif name == "fsync":
            _sync(self._open[first][0])
        else:
            self._renamed(name, first, *rest)

    def write(self, target: Path, data: str, names: str, draw: random.Random) -> None:
        """Write into a new folder what may be left of ``root``."""
        _write(self.top, target, data, names, draw)

    def _parent(self, path: Path) -> Folder:
        found: File | Folder = self.top
        for part in path.relative_to(self.root).parts[:-1]:
            assert isinstance(found, Folder)
            found = found.names[part]
        assert isinstance(found, Folder)
        return found

    def _opened(self, path: Path, flags: int, handle: int) -> None:
        if path == self.root:
            self._open[handle] = self.top, 0
            return
        parent = self._parent(path)
        if path.name not in parent.names:
            parent.names[path.name] = File()
            parent.changed()
        found = parent.names[path.name]
        self._open[handle] = found, 0
        if flags & os.O_TRUNC and isinstance(found, File) and found.content():
            found.pending.append((0, None))

    def _renamed(self, name: str, path: Path, *target: Path) -> None:
        parent = self._parent(path)
        if name == "mkdir":
            parent.names[path.name] = Folder()
        elif name == "replace":
            assert path.parent == target[0].parent, "a rename within one folder is indivisible"
            parent.names[target[0].name] = parent.names.pop(path.name)
        else:
            del parent.names[path.name]
        parent.changed()


def _sync(node: File | Folder) -> None:
    if isinstance(node, File):
        node.safe, node.pending = node.content(), []
    else:
        node.states = [dict(node.names)]


def _write(folder: Folder, target: Path, data: str, names: str, draw: random.Random) -> None:
    target.mkdir()
    for name, node in folder.after(names, draw).items():
        if isinstance(node, File):
            (target / name).write_bytes(node.after(data, draw))
        else:
            _write(node, target / name, data, names, draw)
