"""Small changes to a module, one at a time, each of which some test ought to notice. Pure.

A mutant is named by its place and what it changes, so that its name stays the same while its function does.
"""

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}  # fmt: skip
OPPOSITES = {"min": "max", "max": "min", "any": "all", "all": "any"}
SILENT = {"log", "logger", "logging", "warnings"}
"""What is said in a log is no decision."""


@dataclass(frozen=True)
class Mutant:
    """One change: the function it is in, what it does, and which of the equal ones there it is."""

    function: str
    change: str
    number: int
    line: int

    @property
    def name(self) -> str:
        """Return the name by which a reason for its survival is kept."""
        return f"{self.function}: {self.change}" + (f" #{self.number}" if self.number > 1 else "")


Apply = Callable[[], None]
Edit = tuple[str, str, int, Apply]
"""A function's name, what changes in it, in which line, and what changes it in the tree."""


def mutants(source: str) -> list[Mutant]:
    """Return every mutant of a module, in the order of its text."""
    counts: Counter[tuple[str, str]] = Counter()
    found = []
    for function, change, line, _ in _edits(ast.parse(source)):
        counts[function, change] += 1
        found.append(Mutant(function, change, counts[function, change], line))
    return found


def mutate(source: str, index: int) -> ast.Module:
    """Return a module's tree with the mutant of that index applied."""
    tree = ast.parse(source)
    for number, (_, _, _, apply) in enumerate(_edits(tree)):
        if number == index:
            apply()
            break
    else:
        raise IndexError(index)
    return ast.fix_missing_locations(tree)


def _edits(tree: ast.Module) -> Iterator[Edit]:
    # All of them before one is applied: what is applied changes what would be found.
    return iter([edit for statement in tree.body for edit in _walk(statement, "module")])


def _walk(node: ast.AST, function: str) -> Iterator[Edit]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = node.name if function == "module" else f"{function}.{node.name}"
    if isinstance(node, ast.expr | ast.stmt) and _is_no_decision(node):
        return
    if isinstance(node, ast.expr | ast.stmt):
        yield from ((function, change, node.lineno, apply) for change, apply in _changes(node))
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "bases", "type_params"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child, function)


def _is_no_decision(node: ast.expr | ast.stmt) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Raise | ast.Assert | ast.JoinedStr):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    call = node.value if isinstance(node, ast.Expr) else None
    return (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id in SILENT
    )


def _text(node: ast.AST) -> str:
    text = ast.unparse(node).split("\n")[0]
    return text if len(text) <= 60 else f"{text[:57]}..."


def _changes(node: ast.expr | ast.stmt) -> Iterator[tuple[str, Apply]]:
    """Yield what may change in this very node, with what does it."""
    yield from _changes_of_expression(node) if isinstance(node, ast.expr) else _changes_of_statement(node)
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(
        node.test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant
    ):
        yield _becomes(node, "test", ast.UnaryOp(ast.Not(), node.test))


def _changes_of_expression(node: ast.expr) -> Iterator[tuple[str, Apply]]:
    match node:
        case ast.Compare():
            for at, operator in enumerate(node.ops):
                other = COMPARISONS[type(operator)]()
                yield _becomes(node, "ops", [*node.ops[:at], other, *node.ops[at + 1 :]])
        case ast.BinOp() if type(node.op) in OPERATORS and not _is_text(node):
            yield _becomes(node, "op", OPERATORS[type(node.op)]())
        case ast.BoolOp():
            yield _becomes(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not()):
            yield _becomes(node, "operand", ast.UnaryOp(ast.Not(), node.operand))
        case ast.Constant(value=bool(truth)):
            yield _becomes(node, "value", not truth)
        case ast.Constant(value=int(number) | float(number)):
            yield _becomes(node, "value", number + 1)
        case ast.Call(func=ast.Name(id=name)) if name in OPPOSITES:
            yield _becomes(node, "func", ast.Name(OPPOSITES[name], ast.Load()))
        case _:
            return


def _changes_of_statement(node: ast.stmt) -> Iterator[tuple[str, Apply]]:
    match node:
        case ast.AugAssign() if type(node.op) in OPERATORS:
            yield _becomes(node, "op", OPERATORS[type(node.op)]())
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant | ast.Compare | ast.BoolOp):
            yield _becomes(node, "value", ast.Constant(None))
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield _becomes(node, "value", ast.Constant(None))
        case ast.Assign(targets=[ast.Attribute()], value=value) if not isinstance(value, ast.Constant):
            yield _becomes(node, "value", node.targets[0])
        case _:
            return


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(isinstance(side, ast.JoinedStr | ast.List | ast.Tuple) for side in sides) or any(
        isinstance(side, ast.Constant) and isinstance(side.value, str | bytes) for side in sides
    )


def _becomes(node: ast.expr | ast.stmt, name: str, value: object) -> tuple[str, Apply]:
    changed = copy.copy(node)
    setattr(changed, name, _as_value(value))
    return f"`{_text(node)}` → `{_text(changed)}`", lambda: setattr(node, name, _as_value(value))


def _as_value(value: object) -> object:
    if isinstance(value, ast.Attribute):
        return ast.Attribute(value.value, value.attr, ast.Load())
    return value
