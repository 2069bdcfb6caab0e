"""The shape of the source: imports point downward, files and functions are short."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import metaccord

ROOT = Path(metaccord.__file__).parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")
}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}
LAYERS = (
    ("errors",),
    ("types",),
    ("tree", "names"),
    ("ranks",),
    (
        "engine",
        "axis",
        "keys",
        "normalise",
        "memory",
        "statistics",
        "calibration",
        "fs",
        "jsontree",
        "sealed",
        "staging",
        "data",
        "codings",
        "tasks",
    ),
    ("uneven",),
    ("factorial",),
    ("protocol", "episode_set"),
    ("scores_file", "permutations"),
    ("scores",),
    ("comparable",),
    ("comparison",),
    ("tapped", "models", "hazards", "differences"),
    ("objective",),
    ("rules", "interactions"),
    ("unroll",),
    ("estimators",),
    ("method",),
    ("wrappers", "tuning"),
    ("methods",),
    ("step",),
    ("derivatives",),
    ("inspection", "outer", "records", "doctor"),
    ("train", "measure", "evaluate", "watch", "testing"),
    ("diagnostics",),
)
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
UPWARD = {
    ("method", "estimators"): "a method is made of an estimator; the other way is for types only",
}
BRANCHES = ("rules", "interactions", "estimators")
LONG_FILES: dict[str, str] = {"methods": "a catalogue: one short preset after the other"}
LONG_FUNCTIONS: dict[str, str] = {}
MANY_ARGUMENTS = {
    "train.train": "the one door to a training; all but three are keywords with defaults",
    "cli.train.train": "a command: its arguments are the options of the command line",
    "cli.compare.compare": "a command: its arguments are the options of the command line",
    "scikit.base.__init__": "scikit-learn reads an estimator's parameters from its signature",
    "scikit.classifier.__init__": "scikit-learn reads an estimator's parameters from its signature",
}


def area(name: str) -> str:
    """Return the part of a module's name that has a layer: ``rules`` for ``rules.sgd``."""
    return name.split(".")[0]


def at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk everything but ``if TYPE_CHECKING:``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from at_run_time(node)


def imports(name: str, *, deferred: bool) -> set[str]:
    """Return the modules of the package that a module imports, with or without inside functions."""
    found = set()
    nodes = at_run_time(TREES[name]) if deferred else iter(TREES[name].body)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("metaccord"):
            below = (node.module or "").split(".")[1:]
            found |= {".".join(below)} if below else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name[10:] for a in node.names if a.name.startswith("metaccord.")}
    return found


@pytest.mark.parametrize("name", sorted(n for n in FILES if area(n) in HEIGHT))
def test_imports_point_downward(name: str) -> None:
    """Of the core; whatever stands above it may import the core but not the other way round."""
    own = area(name)
    for other in imports(name, deferred=False):
        there = area(other)
        if there == own or (own, there) in UPWARD:
            continue
        assert there in HEIGHT, f"{name} belongs to the core and imports {other} from above it"
        assert HEIGHT[there] <= HEIGHT[own], f"{name} imports {other}, which stands above it"


def test_every_layer_exists() -> None:
    areas = {area(name) for name in FILES}
    assert set(HEIGHT) <= areas, "LAYERS names what is gone"
    for own, there in UPWARD:
        assert any(
            area(other) == there
            for name in FILES
            if area(name) == own
            for other in imports(name, deferred=True)
        ), "UPWARD names what is gone"


def test_there_are_no_cycles_at_import() -> None:
    """Depth first over modules; a package stands for its ``__init__``."""
    known = {name.removesuffix(".__init__"): name for name in FILES}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name in done:
            return
        for other in imports(known[name], deferred=False):
            if other in known and not name.startswith(f"{other}.") and other != name:
                visit(other, (*trail, name))
        done.add(name)

    for name in sorted(known):
        if area(name) in HEIGHT and area(name) != "estimators":
            visit(name, ())


@pytest.mark.parametrize("name", sorted(n for n in FILES if area(n) in BRANCHES))
def test_branches_never_import_one_another(name: str) -> None:
    others = {b for b in BRANCHES if b != area(name)}
    assert not {area(o) for o in imports(name, deferred=True)} & others


def test_vmap_stands_in_the_engine_alone() -> None:
    """There it is put around forward passes only (tests/test_vmap_norms.py)."""
    users = {
        name
        for name, found in TREES.items()
        for node in ast.walk(found)
        if (isinstance(node, ast.alias) and node.name == "vmap")
        or (isinstance(node, ast.Attribute) and node.attr == "vmap")
    }
    assert users == {"engine"}


def functions(name: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name}.{node.name}", node


def length(node: ast.FunctionDef) -> int:
    """Return the number of lines, without the docstring."""
    total = (node.end_lineno or 0) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        total -= (first.end_lineno or 0) - first.lineno + 1
    return total


def test_files_and_functions_are_short() -> None:
    """250 lines a file; 50 lines, without docstring, and 8 arguments, without self, a function."""
    files = {name for name, path in FILES.items() if len(path.read_text().splitlines()) > 250}
    assert files == set(LONG_FILES)
    found = [pair for name in FILES for pair in functions(name)]
    assert {name for name, node in found if length(node) > 50} == set(LONG_FUNCTIONS)
    many = set()
    for name, node in found:
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if sum(a.arg not in ("self", "cls") for a in given) > 8:
            many.add(name)
    assert many == set(MANY_ARGUMENTS)
    assert all({**LONG_FILES, **LONG_FUNCTIONS, **MANY_ARGUMENTS}.values()), "give a reason"


WATCHED = """
import json, sys
import torch
seen = []
watched = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn")
sys.addaudithook(lambda event, args: seen.append(event) if event.startswith(watched) else None)
state = torch.get_rng_state()
{statement}
watch = ("matplotlib", "pandas", "scipy", "sklearn", "pooch", "rich")
heavy = [m for m in watch if m in sys.modules]
same = torch.equal(state, torch.get_rng_state())
print(json.dumps({{"seen": seen, "heavy": heavy, "same": same}}))
"""


def watched(statement: str) -> dict[str, object]:
    """Run one statement in a fresh interpreter after ``import torch``."""
    code = WATCHED.format(statement=statement)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_import_opens_and_starts_nothing() -> None:
    found = watched("import metaccord")
    assert found == {"seen": [], "heavy": [], "same": True}


def test_the_audit_hook_would_notice() -> None:
    found = watched(
        "import socket, subprocess, matplotlib\n"
        "socket.socket().close()\nsubprocess.run(['true'], check=True)"
    )
    assert {"socket.__new__", "subprocess.Popen"} <= set(found["seen"])
    assert found["heavy"] == ["matplotlib"]
