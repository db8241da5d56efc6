"""Generate small changes to the product."""

import ast
from collections.abc import Iterator
from functools import singledispatch
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "stripe_connections/services.py",
    "stripe_connections/statements.py",
    "stripe_connections/validation/*.py",
    "stripe_connections/stripe_api/*.py",
    "stripe_connections/secrets/keyring.py",
    "stripe_connections/bulk/rotation.py",
    "workspaces/permissions.py",
    "workspaces/authentication.py",
    "workspaces/tokens.py",
)
SWAPPED: dict[type, type] = {
    ast.Eq: ast.NotEq, ast.Is: ast.IsNot, ast.In: ast.NotIn, ast.Lt: ast.LtE, ast.Gt: ast.GtE,
    ast.And: ast.Or, ast.Add: ast.Sub, ast.Mult: ast.FloorDiv, ast.BitOr: ast.BitAnd,
}  # fmt: skip
SWAPPED |= {new: old for old, new in SWAPPED.items()}


class Mutant(NamedTuple):
    """Replaces `before` with `after` at byte `start` of a file."""

    path: str
    line: int
    start: int
    before: str
    after: str

    def __str__(self) -> str:
        before, after = (" ".join(text.split()) for text in (self.before, self.after))
        return f"{self.path}:{self.line}: {before} -> {after}"

    def applied(self, source: bytes) -> bytes:
        end = self.start + len(self.before.encode())
        return source[: self.start] + self.after.encode() + source[end:]

    def lines(self) -> range:
        return range(self.line, self.line + self.before.count("\n") + 1)


@singledispatch
def changes(_node: ast.AST) -> Iterator[ast.AST]:
    """Return the nodes that can replace the given one."""
    yield from ()


@changes.register
def _(node: ast.Compare) -> Iterator[ast.AST]:
    if new := SWAPPED.get(type(node.ops[0])):
        yield ast.Compare(node.left, [new(), *node.ops[1:]], node.comparators)


@changes.register
def _(node: ast.BoolOp) -> Iterator[ast.AST]:
    yield ast.BoolOp(SWAPPED[type(node.op)](), node.values)
    yield from (value for value in node.values)


@changes.register
def _(node: ast.BinOp) -> Iterator[ast.AST]:
    if new := SWAPPED.get(type(node.op)):
        yield ast.BinOp(node.left, new(), node.right)


@changes.register
def _(node: ast.UnaryOp) -> Iterator[ast.AST]:
    yield node.operand


@changes.register
def _(node: ast.IfExp) -> Iterator[ast.AST]:
    yield node.body
    yield node.orelse


@changes.register
def _(node: ast.Constant) -> Iterator[ast.AST]:
    match node.value:
        case bool():
            yield ast.Constant(not node.value)
        case int():
            yield ast.Constant(node.value + 1)
        case str() if node.value.isidentifier():
            yield ast.Constant(f"{node.value}x")


@changes.register
def _(node: ast.Call) -> Iterator[ast.AST]:
    for keyword in node.keywords:
        others = [other for other in node.keywords if other is not keyword]
        yield ast.Call(node.func, node.args, others)


@changes.register
def _(node: ast.Tuple) -> Iterator[ast.AST]:
    """Drop one element, for example a caught exception."""
    if len(node.elts) > 1 and isinstance(node.ctx, ast.Load):
        yield ast.Tuple(node.elts[1:], node.ctx)
        yield ast.Tuple(node.elts[:-1], node.ctx)


@changes.register(ast.Expr)
@changes.register(ast.Assign)
@changes.register(ast.AugAssign)
@changes.register(ast.Raise)
def _(_node: ast.stmt) -> Iterator[ast.AST]:
    yield ast.Pass()


@changes.register
def _(node: ast.Return) -> Iterator[ast.AST]:
    if node.value:
        yield ast.Return(ast.Constant(None))


def code_of(tree: ast.AST) -> Iterator[ast.AST]:
    """Return the nodes inside functions, without docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            for statement in body:
                yield from ast.walk(statement)


def mutants_of(path: Path, root: Path) -> Iterator[Mutant]:
    source = path.read_bytes()
    lines = source.splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
    name = str(path.relative_to(root))
    for node in code_of(ast.parse(source)):
        for new in changes(node):
            start = starts[node.lineno - 1] + node.col_offset
            before = source[start : starts[node.end_lineno - 1] + node.end_col_offset]
            text = ast.unparse(ast.fix_missing_locations(new)).encode()
            # Keep the number of lines, so that later line numbers do not change.
            text += b"\n" * before.count(b"\n")
            is_bare = isinstance(new, ast.stmt | ast.Constant)
            after = text if is_bare else b"(%s)" % text
            yield Mutant(name, node.lineno, start, before.decode(), after.decode())


def all_mutants() -> Iterator[Mutant]:
    for pattern in MODULES:
        paths = sorted(ROOT.glob(pattern))
        assert paths, f"{pattern} matches no file"
        for path in paths:
            yield from dict.fromkeys(mutants_of(path, ROOT))
