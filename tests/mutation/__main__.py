"""Change the product at random and see whether a test notices: `python -m tests.mutation`.

Not part of `make test`, because 200 mutants take hours. Each mutant is one small change in a copy
of the tree. It is killed if one of the tests of its module fails or hangs on SQLite, or on
PostgreSQL if DATABASE_URL names one:

    python -m tests.postgres python -m tests.mutation --seed 1 --count 200

The same seed gives the same mutants as long as the modules stay as they are. Survivors are printed
at the end.

Not cosmic-ray, which has one test command for all modules and goes through all mutants in order,
nor mutmut, which imports each module in every variant at once and breaks Django's registry.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import singledispatch
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
API = "tests/stripe_connections/api"
SERVICES = (
    API,
    "tests/stripe_connections/test_services.py",
    "tests/stripe_connections/test_door.py",
    "tests/stripe_connections/test_audit.py",
    "tests/stripe_connections/test_concurrency.py",
    "tests/stripe_connections/verification",
    "tests/stripe_connections/admin",
)
VALIDATION = (
    "tests/stripe_connections/test_partner_endpoint.py",
    "tests/stripe_connections/test_models.py",
    f"{API}/test_update_fields.py",
    f"{API}/test_update_body.py",
    f"{API}/test_create_connection.py",
)
SECRETS = (
    "tests/stripe_connections/test_secrets.py",
    "tests/stripe_connections/test_encrypted_field.py",
    "tests/stripe_connections/test_services.py",
    "tests/stripe_connections/test_checks.py",
    "tests/stripe_connections/bulk",
)
# What is changed, and the tests that must notice.
MODULES: dict[str, tuple[str, ...]] = {
    "stripe_connections/services.py": SERVICES,
    "stripe_connections/statements.py": SERVICES,
    "stripe_connections/validation/*.py": VALIDATION,
    "stripe_connections/stripe_api/*.py": (
        "tests/stripe_connections/verification",
        "tests/stripe_connections/bulk",
        f"{API}/test_verify_call.py",
    ),
    "stripe_connections/secrets/keyring.py": SECRETS,
    "stripe_connections/**/rotation.py": SECRETS,
    "workspaces/permissions.py": (API, "tests/workspaces"),
    "workspaces/authentication.py": ("tests/workspaces", API),
    "workspaces/tokens.py": ("tests/workspaces", API),
}
# A mutant that never ends is killed, too.
TIMEOUT_SECONDS = 1_800
SWAPPED: dict[type, type] = {
    ast.Eq: ast.NotEq, ast.Is: ast.IsNot, ast.In: ast.NotIn, ast.Lt: ast.LtE, ast.Gt: ast.GtE,
    ast.And: ast.Or, ast.Add: ast.Sub, ast.Mult: ast.FloorDiv, ast.BitOr: ast.BitAnd,
}  # fmt: skip
SWAPPED |= {new: old for old, new in SWAPPED.items()}


class Mutant(NamedTuple):
    """`before` becomes `after` in a file, from byte `start` on."""

    path: str
    line: int
    start: int
    before: bytes
    after: bytes

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before.decode()!r} -> {self.after.decode()!r}"

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.after + source[self.start + len(self.before) :]


@singledispatch
def changes(_node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that may replace the given one."""
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
    """For example the exceptions that are caught."""
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
    """The nodes inside of functions that run, without docstrings and annotations."""
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
            is_bare = isinstance(new, ast.stmt | ast.Constant)
            after = text if is_bare else b"(%s)" % text
            yield Mutant(name, node.lineno, start, before, after)


def candidates() -> Iterator[tuple[Mutant, tuple[str, ...]]]:
    for pattern, tests in MODULES.items():
        paths = sorted(ROOT.glob(pattern))
        assert paths, f"{pattern} matches no file"
        for path in paths:
            yield from ((mutant, tests) for mutant in dict.fromkeys(mutants_of(path, ROOT)))


def notices(tree: Path, tests: tuple[str, ...], output: int | None = subprocess.DEVNULL) -> bool:
    """Whether one of the tests fails, on either database."""
    urls = {"", os.environ.get("DATABASE_URL", "")}
    return any(fails(tree, tests, url, output) for url in sorted(urls))


def fails(tree: Path, tests: tuple[str, ...], database_url: str, output: int | None) -> bool:
    environment = {name: text for name, text in os.environ.items() if name != "DATABASE_URL"}
    environment |= {"DATABASE_URL": database_url} if database_url else {}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", *tests]
    try:
        finished = subprocess.run(
            command, cwd=tree, env=environment, timeout=TIMEOUT_SECONDS, check=False,
            stdout=output, stderr=output,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return True
    return finished.returncode != 0


def survivors(chosen: list[tuple[Mutant, tuple[str, ...]]], tree: Path) -> Iterator[Mutant]:
    for number, (mutant, tests) in enumerate(chosen, 1):
        file = tree / mutant.path
        source = file.read_bytes()
        file.write_bytes(mutant.applied(source))
        is_killed = notices(tree, tests)
        file.write_bytes(source)
        print(number, "killed  " if is_killed else "SURVIVED", mutant, flush=True)
        if not is_killed:
            yield mutant


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    found = list(candidates())
    chosen = random.Random(options.seed).sample(found, options.count)
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        tree = Path(directory) / "tree"
        shutil.copytree(
            ROOT, tree, ignore=shutil.ignore_patterns(".git", ".venv", "node_modules", "var")
        )
        for tests in sorted({tests for _, tests in chosen}):
            if notices(tree, tests, output=None):
                print("A test fails without any change.")
                return 1
        alive = list(survivors(chosen, tree))
    killed = len(chosen) - len(alive)
    print(
        f"Seed {options.seed}: {killed} of {len(chosen)} killed, of {len(found)} possible mutants"
    )
    print(*(f"- `{mutant}`" for mutant in alive), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
