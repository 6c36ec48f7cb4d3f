"""What a class can be built with, read from its source: known without loading the libraries that it works with.

A constructor's signature is where a generator's or a loss's parameters are declared: names, types, defaults, and with
the kinds below the values that make sense. Recipes, packages and the list of keys all go by it.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from modality_synthesis.errors import BadInputError
from modality_synthesis.validation import did_you_mean, problem


def _is_a_file(path: str) -> str:
    if not Path(path).is_file():
        raise ValueError("no such file; give one, or leave the parameter out")
    return path


Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Portion = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Pair = Annotated[Sequence[float], Field(min_length=2, max_length=2)]
WeightsFile = Annotated[str, AfterValidator(_is_a_file)]

_PACKAGE = Path(__file__).parent
# What annotations name of these is imported; of this package's other modules it is read.
_LIGHT = ("collections.abc", "typing", "pathlib", __name__)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a constructor.

    Attributes:
        name: of it.
        annotation: its type; `Any` where the constructor names none.
        default: as it is written in the source (of a constant, its value); None when the parameter is required.
    """

    name: str
    annotation: Any
    default: str | None


@dataclass(frozen=True)
class Signature:
    """The constructor of a class.

    Attributes:
        parameters: by name, in their order.
        about: first paragraph of the class's docstring, in one line.
    """

    parameters: Mapping[str, Parameter]
    about: str

    def check(self, what: str, given: Mapping[str, Any], *, elsewhere: Sequence[str] = ()) -> None:
        """Refuse parameters that cannot be given.

        Args:
            what: whose they are, for the message.
            given: by name.
            elsewhere: parameters that the caller gives himself.

        Raises:
            BadInputError: unknown (the nearest is named), missing, of another type or out of range.
        """
        known = {name: one for name, one in self.parameters.items() if name not in elsewhere}
        for name in given:
            if name not in known:
                raise BadInputError(
                    f"{what} has no parameter {name!r}.{did_you_mean(str(name), known)} "
                    f"Known: {', '.join(known) or 'none'}."
                )
        for name, one in known.items():
            if name in given:
                _check_value(what, one, given[name])
            elif one.default is None:
                raise BadInputError(f"{what} needs the parameter {name!r}.")


@functools.cache
def signature(module: str, name: str) -> Signature:
    """The signature of a class, or of a `functools.partial` of one, without importing its module.

    Args:
        module: where the name is defined or imported (`modality_synthesis.generators.drunet`).
        name: of the class.

    Raises:
        LookupError: no such class in this package.
    """
    found = _look_up(module, name)
    if not isinstance(found, _Defined):
        raise LookupError(f"{module} has no class {name!r} of this package")
    if isinstance(found.node, ast.ClassDef):
        about = (ast.get_docstring(found.node) or "").split("\n\n")[0].replace("\n", " ")
        return Signature(_parameters(found.module, found.node), about)
    assert isinstance(found.node, ast.Call)  # partial(Class, *positional, **named)
    whole = signature(found.module, _name(found.node.args[0]))
    named = {keyword.arg for keyword in found.node.keywords}
    left = list(whole.parameters.items())[len(found.node.args) - 1 :]
    return Signature({key: one for key, one in left if key not in named}, whole.about)


def _check_value(what: str, parameter: Parameter, value: Any) -> None:
    # Strict: a number in quotes is text for every library that gets it.
    adapter: TypeAdapter[Any] = TypeAdapter(parameter.annotation, config=ConfigDict(strict=True))
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"[{part}]" for part in first["loc"] if isinstance(part, int))
        raise BadInputError(
            f"{what}: the parameter {parameter.name + where!r} cannot be {first['input']!r}: {problem(first)}."
        ) from None


@dataclass(frozen=True)
class _Defined:
    """A class, or the value of an assignment, in a module's source."""

    module: str
    node: ast.ClassDef | ast.expr


def _parameters(module: str, node: ast.ClassDef) -> dict[str, Parameter]:
    constructor = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
    if constructor is None:
        return _fields(module, node) if _is_dataclass(node) else _inherited(module, node)
    arguments = constructor.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*([None] * (len(positional) - len(arguments.defaults))), *arguments.defaults, *arguments.kw_defaults]
    pairs = list(zip([*positional, *arguments.kwonlyargs], defaults, strict=True))[1:]  # without self
    own = {one.arg: _parameter(module, one.arg, one.annotation, default) for one, default in pairs}
    # `**options` stands for those of the class above.
    return own if arguments.kwarg is None else {**own, **_inherited(module, node)}


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).startswith("dataclass") for decorator in node.decorator_list)


def _fields(module: str, node: ast.ClassDef) -> dict[str, Parameter]:
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
    return {name: _parameter(module, name, one.annotation, one.value) for one in fields if (name := _name(one.target))}


def _inherited(module: str, node: ast.ClassDef) -> dict[str, Parameter]:
    for base in node.bases:
        found = _look_up(module, _name(base))
        if isinstance(found, _Defined) and isinstance(found.node, ast.ClassDef):
            return _parameters(found.module, found.node)
    return {}


def _parameter(module: str, name: str, annotation: ast.expr | None, default: ast.expr | None) -> Parameter:
    kind = Any if annotation is None else _resolved(module, annotation)
    if isinstance(default, ast.Name) and isinstance(found := _look_up(module, default.id), _Defined):
        default = found.node if isinstance(found.node, ast.expr) else default
    return Parameter(name, kind, None if default is None else ast.unparse(default))


def _resolved(module: str, node: ast.expr) -> Any:
    """An annotation as the type that it stands for; `Any` for classes, which no recipe can write."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Tuple):
        return tuple(_resolved(module, one) for one in node.elts)
    if isinstance(node, ast.BinOp):
        return operator.or_(_resolved(module, node.left), _resolved(module, node.right))
    if isinstance(node, ast.Subscript):
        return _resolved(module, node.value)[_resolved(module, node.slice)]
    found = _look_up(module, _name(node))
    if isinstance(found, _Defined):
        return Any if isinstance(found.node, ast.ClassDef) else _resolved(found.module, found.node)
    return Any if found is None else found


def _look_up(module: str, name: str) -> Any:
    """What a name is in a module: `_Defined`, an object of `_LIGHT` modules or Python itself; None for others."""
    for statement in _syntax(module).body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            return _Defined(module, statement)
        if isinstance(statement, ast.Assign) and any(_name(target) == name for target in statement.targets):
            return _Defined(module, statement.value)
        if isinstance(statement, ast.ImportFrom):
            origin = next((one.name for one in statement.names if (one.asname or one.name) == name), None)
            if origin is not None:
                return _imported(str(statement.module), origin)
    return getattr(builtins, name, None)


def _imported(module: str, name: str) -> Any:
    if module in _LIGHT:
        return getattr(importlib.import_module(module), name)
    return _look_up(module, name) if module.startswith(f"{_PACKAGE.name}.") else None


@functools.cache
def _syntax(module: str) -> ast.Module:
    place = _PACKAGE.joinpath(*module.split(".")[1:])
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def _name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]
