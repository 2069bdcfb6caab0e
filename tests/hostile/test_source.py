"""Over the syntax trees of the package: nothing in it unpickles, evaluates or starts a shell."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.test_structure import TREES

CALLS = {
    "eval", "exec", "compile", "__import__", "breakpoint", "os.system", "os.popen", "os.startfile",
    "torch.load", "torch.save", "numpy.load", "numpy.save", "numpy.fromfile", "numpy.genfromtxt",
    "tempfile.mktemp", "sys.settrace",
}  # fmt: skip
MODULES = {
    "pickle", "_pickle", "cPickle", "pickletools", "dill", "cloudpickle", "joblib", "shelve",
    "marshal", "yaml", "ruamel", "copyreg", "runpy", "pty", "commands",
    "telnetlib", "ftplib", "torch.serialization", "torch.package", "torch.hub", "torch.jit",
    "torch.distributed.checkpoint", "torch.multiprocessing", "xmlrpc", "numpy.lib.npyio",
}  # fmt: skip
METHODS = {"extractall", "extract", "unpack_archive", "load_module", "exec_module"}
PICKLES = {"__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__", "__setstate__"}
ALLOWED = {
    ("cli.doctor", "import_module"): "the user names a module of the user's own",
    ("models", "import_module"): "a fixed name: torch-geometric may be missing",
}


def findings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Walk to the lines that do what is forbidden, as (line, what)."""
    names = _names(tree)
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [a.name for a in node.names if _inside(a.name)]
        elif isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name for name in full if name in CALLS or _inside(name)]
        elif isinstance(node, ast.Call):
            found = _called(node, names)
        elif isinstance(node, ast.FunctionDef) and node.name in PICKLES:
            found = [node.name]
        elif _read(node) and _full(node, names) in CALLS:
            found = [_full(node, names)]  # also when it is handed on without a call
        yield from ((node.lineno, what) for what in found)


def _names(tree: ast.AST) -> dict[str, str]:
    """Return what each imported name stands for: ``np`` for ``numpy``."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return known


def _full(node: ast.AST, names: dict[str, str]) -> str:
    text = ast.unparse(node)
    head, dot, rest = text.partition(".")
    return f"{names.get(head, head)}{dot}{rest}"


def _read(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load)


def _inside(module: str) -> bool:
    return any(module == bad or module.startswith(f"{bad}.") for bad in MODULES)


def _called(node: ast.Call, names: dict[str, str]) -> list[str]:
    """Return what is wrong with a call beside its name."""
    text = _full(node.func, names)
    last = text.rpartition(".")[2]
    wrong = []
    if _inside(text) or last in METHODS:
        wrong.append(text)
    if last.endswith(("_object", "_object_list")):
        wrong.append(f"{text} sends pickles")
    if text.startswith("os.") and last.startswith(("exec", "spawn", "posix_spawn")):
        wrong.append(text)
    if last == "import_module":
        wrong.append(last)
    for keyword in node.keywords:
        off = isinstance(keyword.value, ast.Constant) and not keyword.value.value
        if keyword.arg in ("allow_pickle", "shell") and not off:
            wrong.append(f"{text}({keyword.arg}=...)")
        if keyword.arg == "weights_only":
            wrong.append(f"{text}(weights_only=...)")
    return wrong


@pytest.mark.parametrize("name", sorted(TREES))
def test_the_package_runs_nothing_that_it_reads(name: str) -> None:
    package = name.split(".")[0]
    found = [
        (line, what)
        for line, what in findings(TREES[name])
        if not {(name, what), (package, what)} & ALLOWED.keys()
    ]
    assert found == []


PLANTED = [
    "import pickle", "from pickle import loads", "import _pickle as p", "import yaml",
    "import torch\ntorch.load('x')", "from torch import load", "from torch import save as s",
    "import torch as t\nt.save(1, 'x')", "import torch\nread = torch.load",
    "import torch.serialization", "from torch.serialization import load",
    "from torch import hub", "import torch.distributed.checkpoint as dcp",
    "import numpy as np\nnp.load('x')", "from numpy import load", "f(allow_pickle=True)",
    "f(allow_pickle=flag)", "import subprocess\nsubprocess.run('x', shell=True)",
    "import os\nos.system('x')", "from os import system", "import os as o\no.popen('x')",
    "import os\nos.execv('x', [])", "eval('1')", "exec('1')", "run = eval",
    "compile('1', '', 'eval')",
    "__import__('os')", "import torch.distributed as d\nd.all_gather_object(a, b)",
    "dist.broadcast_object_list(a)", "from torch.distributed import scatter_object_list as s\ns(a)",
    "class A:\n def __reduce__(self): pass", "class A:\n def __setstate__(self, x): pass",
    "archive.extractall('x')", "f('x', weights_only=True)", "import runpy",
    "import importlib\nimportlib.import_module(x)", "import torch\ntorch.jit.load('x')",
]  # fmt: skip


@pytest.mark.parametrize("source", PLANTED)
def test_a_planted_line_is_found(source: str) -> None:
    assert list(findings(ast.parse(source))), source


@pytest.mark.parametrize(
    "source",
    ["import re\nre.compile('x')", "f(allow_pickle=False)", "model.eval()", "mc.load('x')",
     "import numpy as np\nnp.savez('x')", "safetensors.torch.load(x)", "torch.compile(f)"],
)  # fmt: skip
def test_what_is_harmless_passes(source: str) -> None:
    assert list(findings(ast.parse(source))) == []
