"""Small changes of a source text that a good test notices, found in its syntax tree."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import NamedTuple

BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
SILENT = ("log", "_log", "warnings")  # what is said to people is not the core
SKIPPED = (ast.JoinedStr, ast.Assert, ast.Import, ast.ImportFrom)
Change = tuple[str, ast.expr | ast.stmt, str]


class Mutant(NamedTuple):
    """One change: bytes ``start`` to ``end`` of a file become ``after``."""

    file: str
    line: int
    start: int
    end: int
    kind: str
    before: str
    after: str

    @property
    def name(self) -> str:
        """What tells it from all others of the same source."""
        return f"{self.file}:{self.start}:{self.kind}:{self.after}"


def mutants(file: str, source: str) -> list[Mutant]:
    """Return all mutants of a source text, in the order of its syntax tree.

    Texts, annotations, assertions, log messages and what stands for type checkers stay as they are.

    Args:
        file: Its name, which each mutant carries.
        source: Its content.
    """
    content, found = source.encode(), []
    starts = [0]
    for line in content.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in _walk(ast.parse(source)):
        for kind, place, after in _changes(node):
            start = starts[place.lineno - 1] + place.col_offset
            end = starts[(place.end_lineno or 0) - 1] + (place.end_col_offset or 0)
            before = content[start:end].decode()
            found.append(Mutant(file, place.lineno, start, end, kind, before, after))
    return found


def mutated(source: str, mutant: Mutant) -> str:
    """Return the source text with the change."""
    content = source.encode()
    assert content[mutant.start : mutant.end] == mutant.before.encode(), "another source"
    return (content[: mutant.start] + mutant.after.encode() + content[mutant.end :]).decode()


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_silent(child):
                yield child
                yield from _walk(child)


def _is_silent(node: ast.AST) -> bool:
    if isinstance(node, SKIPPED):
        return True
    if isinstance(node, ast.If):
        return ast.unparse(node.test).endswith("TYPE_CHECKING")
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return ast.unparse(node.value.func).split(".")[0] in SILENT
    if isinstance(node, ast.Assign):  # names of types: Rows = dict[str, Tensor] | None
        return isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.BitOr)
    return False


def _changes(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.expr):
        yield from _of_expressions(node)
    elif isinstance(node, ast.stmt):
        yield from _of_statements(node)
    elif isinstance(node, ast.comprehension):
        for test in node.ifs:
            yield from (("filter", test, "True"), ("filter", test, "False"))


def _of_expressions(node: ast.expr) -> Iterator[Change]:
    twin = copy.deepcopy(node)
    match twin:
        case ast.BinOp() if type(twin.op) in BINARY:
            twin.op = BINARY[type(twin.op)]()
            yield "operator", node, _text(twin)
        case ast.Compare(ops=[operator]):
            twin.ops = [COMPARED[type(operator)]()]
            yield "comparison", node, _text(twin)
        case ast.BoolOp():
            twin.op = ast.Or() if isinstance(twin.op, ast.And) else ast.And()
            yield "and, or", node, _text(twin)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield "sign", node, _text(twin.operand)
        case ast.Constant(value=bool()):
            yield "constant", node, str(not twin.value)
        case ast.Constant(value=int() | float() as number):
            yield from (("constant", node, f"({number + by!r})") for by in (1, -1))
        case ast.IfExp():
            yield from (("branch", node, _text(part)) for part in (twin.body, twin.orelse))
        case ast.Call():
            yield from _of_calls(node, twin)


def _of_calls(node: ast.expr, twin: ast.Call) -> Iterator[Change]:
    function, given = twin.func, twin.args
    if isinstance(function, ast.Attribute) and function.attr in ("detach", "clone"):
        yield function.attr, node, _text(function.value)
    if len({ast.dump(arg) for arg in given[:2] if not isinstance(arg, ast.Starred)}) == 2:
        twin.args = [given[1], given[0], *given[2:]]
        yield "arguments", node, _text(twin)


def _of_statements(node: ast.stmt) -> Iterator[Change]:
    match node:
        case ast.Return(value=ast.expr()) if not _is_none(node.value):
            yield "return", node, "return None"
        case ast.If() | ast.While():
            forced = ("True", "False") if isinstance(node, ast.If) else ("False",)
            yield from (("branch", node.test, text) for text in forced)
        case ast.Raise() | ast.AugAssign() | ast.Expr(value=ast.Call() | ast.Await()):
            yield "statement", node, "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "statement", node, "pass"
        case ast.Break():
            yield "loop", node, "continue"
        case ast.Continue():
            yield "loop", node, "break"


def _is_none(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _text(node: ast.expr) -> str:
    """Return an expression in brackets: it means the same wherever it stands."""
    return f"({ast.unparse(node)})"
