"""Where the text of an SQL statement comes from, as far as the source itself proves it.

A text is proved when it is made of nothing but literals, of named statements of ``.sql`` files, of
numbers that are formatted as such (``:d``), and of names that are bound to such texts alone. What
is not proved, a parameter or the outcome of a call, is returned as it stands in the source.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

CALLS = {"execute", "executemany", "pragma"}
"""Methods whose first argument is, or becomes, the text of a statement."""
MAKERS = {"Condition", "Order"}
"""Classes whose first argument becomes a part of a statement."""
TEXT_METHODS = {"join", "strip", "upper", "lower", "removesuffix", "removeprefix"}
"""Methods of a text that put nothing into it but their arguments."""
READERS = {"named_statements", "statements_of", "with_name"}
"""What reads ``.sql`` files of the project."""
_DEPTH_MAX = 20
_ENDS = (ast.Return, ast.Yield)
Function = ast.FunctionDef | ast.AsyncFunctionDef
Within = tuple[Function | None, ast.Call]


@dataclass
class Module:
    """A module: its tree, what its names are bound to, and where those come from it imports."""

    path: str
    tree: ast.Module
    bound: dict[str, list[ast.expr]] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, top: Path, path: Path) -> Module:
        """Read a module of the project."""
        module = cls(path.relative_to(top).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for node in module.tree.body:
            _bind(node, module.bound)
            if isinstance(node, ast.ImportFrom) and node.module:
                for each in node.names:
                    module.imported[each.asname or each.name] = (node.module, each.name)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Assign | ast.AnnAssign):
                _bind_attributes(node, module.bound)
            if isinstance(node, Function):
                module.functions[node.name] = node
        return module

    @property
    def name(self) -> str:
        """The dotted name that others import it by."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass(frozen=True)
class Unproved:
    """A part of a statement that the source does not prove; ``function`` is where it is used."""

    path: str
    function: str
    text: str
    line: int

    @property
    def key(self) -> str:
        """What names it, whatever line it is on."""
        return f"{self.path}:{self.function}: {self.text}"


def modules(top: Path, folders: tuple[str, ...]) -> dict[str, Module]:
    """Return the modules of some folders by their names."""
    paths = (path for folder in folders for path in sorted((top / folder).rglob("*.py")))
    return {module.name: module for module in (Module.read(top, path) for path in paths)}


def unproved(known: Mapping[str, Module]) -> Iterator[Unproved]:
    """Yield every part of a statement that is not proved."""
    for module in known.values():
        for function, node in _calls(module.tree):
            proof = Proof(known, module, function)
            for part in proof.of(node.args[0]):
                name = function.name if function else "<module>"
                yield Unproved(module.path, name, ast.unparse(part), node.lineno)


def count_calls(known: Mapping[str, Module]) -> int:
    """Return how many statements were looked at."""
    return sum(1 for module in known.values() for _ in _calls(module.tree))


def _calls(tree: ast.Module) -> Iterator[Within]:
    """Yield each call that takes a statement."""
    for function, call in _all_calls(tree):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        made = isinstance(call.func, ast.Name) and call.func.id in MAKERS
        if call.args and (made or name in CALLS):
            yield function, call


def _named_calls(tree: ast.Module, name: str) -> Iterator[Within]:
    """Yield each call of a function or a method of this name."""
    for function, call in _all_calls(tree):
        if name in (getattr(call.func, "id", None), getattr(call.func, "attr", None)):
            yield function, call


@cache
def _all_calls(tree: ast.Module) -> list[Within]:
    """Return each call with the innermost function around it."""
    found: list[Within] = []

    def visit(node: ast.AST, function: Function | None) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                found.append((function, child))
            visit(child, child if isinstance(child, Function) else function)

    visit(tree, None)
    return found


class Proof:
    """Proves expressions of one function."""

    def __init__(
        self, known: Mapping[str, Module], module: Module, function: Function | None
    ) -> None:
        self._known = known
        self._module = module
        self._function = function
        self._local: dict[str, list[ast.expr]] = {}
        self._given: set[str] = set()
        if function is not None:
            told = function.args
            arguments = [*told.posonlyargs, *told.args, *told.kwonlyargs, told.vararg, told.kwarg]
            self._given = {each.arg for each in arguments if each is not None}
            for node in ast.walk(function):
                _bind(node, self._local)

    def of(self, node: ast.expr, depth: int = 0) -> list[ast.expr]:
        """Return the parts of an expression that are not proved."""
        if depth > _DEPTH_MAX:
            return [node]
        match node:
            case ast.Constant():
                return []
            case ast.JoinedStr(values=values):
                return [part for each in values for part in self.of(each, depth + 1)]
            case ast.FormattedValue(format_spec=ast.JoinedStr(values=[ast.Constant(value="d")])):
                return []
            case ast.FormattedValue(value=value, format_spec=None):
                return self.of(value, depth + 1)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.of(left, depth + 1) + self.of(right, depth + 1)
            case ast.BinOp(left=ast.Constant() as text, op=ast.Mult()):
                return self.of(text, depth + 1)
            case ast.IfExp(body=body, orelse=other):
                return self.of(body, depth + 1) + self.of(other, depth + 1)
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                return [part for each in parts for part in self.of(each, depth + 1)]
            case ast.Dict(values=parts):
                return [part for each in parts for part in self.of(each, depth + 1)]
            case ast.Starred(value=value) | ast.Subscript(value=value):
                return self.of(value, depth + 1)
            case ast.GeneratorExp(elt=text) | ast.ListComp(elt=text):
                return self.of(text, depth + 1)
            case ast.Call():
                return self._of_call(node, depth)
            case ast.Name(id=name):
                return self._of_name(node, name, depth)
            case ast.Attribute(attr=name):
                return self._of_attribute(node, name, depth)
        return [node]

    def _of_call(self, node: ast.Call, depth: int) -> list[ast.expr]:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        if name in READERS:
            return []
        if name in TEXT_METHODS or (name == "replace" and isinstance(node.func, ast.Attribute)):
            assert isinstance(node.func, ast.Attribute)
            parts = [node.func.value, *node.args]
            return [part for each in parts for part in self.of(each, depth + 1)]
        if isinstance(node.func, ast.Name) and (found := self._find(name)) is not None:
            module, function = found
            proof = Proof(self._known, module, function)
            returned = [each.value for each in ast.walk(function) if isinstance(each, _ENDS)]
            if returned and not any(proof.of(each, depth + 1) for each in returned if each):
                return []
        if name == "read_text" and ast.unparse(node.func).startswith(
            ("_SCHEMA.", "Path(__file__)")
        ):
            return []
        return [node]

    def _of_name(self, node: ast.expr, name: str, depth: int) -> list[ast.expr]:
        if name in self._given:
            return [] if self._is_given_proved(name, depth) else [node]
        if name in self._local:
            return [part for each in self._local[name] for part in self.of(each, depth + 1)]
        if name in self._module.bound:
            outside = Proof(self._known, self._module, None)
            return [p for each in self._module.bound[name] for p in outside.of(each, depth + 1)]
        where, other = self._module.imported.get(name, ("", ""))
        if (module := self._known.get(where)) is not None:
            outside = Proof(self._known, module, None)
            return [
                p for each in module.bound.get(other, [node]) for p in outside.of(each, depth + 1)
            ]
        return [node]

    def _find(self, name: str) -> tuple[Module, Function] | None:
        """Return a function of this module, or one that it imports."""
        where, other = self._module.imported.get(name, (self._module.name, name))
        module = self._known.get(where)
        function = module.functions.get(other) if module is not None else None
        return None if module is None or function is None else (module, function)

    def _is_given_proved(self, name: str, depth: int) -> bool:
        """Return whether all who call the function give it a text for this that is proved."""
        assert self._function is not None
        told = self._function.args
        names = [each.arg for each in (*told.posonlyargs, *told.args)]
        is_method = names[:1] in (["self"], ["cls"])
        called = self._function.name
        calls = 0
        for module in [self._module] if called.startswith("_") else self._known.values():
            for function, call in _named_calls(module.tree, called):
                given = {each.arg: each.value for each in call.keywords}
                given |= dict(zip(names[is_method:], call.args, strict=False))
                calls += 1
                if name not in given or Proof(self._known, module, function).of(
                    given[name], depth + 1
                ):
                    return False
        return calls > 0

    def _of_attribute(self, node: ast.expr, name: str, depth: int) -> list[ast.expr]:
        """Return what is not proved of an attribute: all that the module ever binds it to."""
        values = self._module.bound.get(f".{name}")
        if not values:
            return [node]
        outside = Proof(self._known, self._module, None)
        return [node] if any(outside.of(each, depth + 1) for each in values) else []


def _bind(node: ast.AST, bound: dict[str, list[ast.expr]]) -> None:
    """Note what a statement binds names to; a loop binds its name to what it goes over."""
    pairs: list[tuple[ast.expr, ast.expr | None]] = []
    match node:
        case ast.Assign(targets=targets, value=value):
            pairs = [(target, value) for target in targets]
        case ast.AnnAssign(target=target, value=value) | ast.AugAssign(target=target, value=value):
            pairs = [(target, value)]
        case ast.NamedExpr(target=target, value=value):
            pairs = [(target, value)]
        case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
            pairs = [(target, value)]
    for target, value in pairs:
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        for name in names:
            if isinstance(name, ast.Name) and value is not None:
                bound.setdefault(name.id, []).append(value)


def _bind_attributes(node: ast.Assign | ast.AnnAssign, bound: dict[str, list[ast.expr]]) -> None:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        if isinstance(target, ast.Attribute) and node.value is not None:
            bound.setdefault(f".{target.attr}", []).append(node.value)
