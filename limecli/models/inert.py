"""Reads a pickle without running it: every global stays a name, every object a name with contents.

Only plain values, numpy arrays and joblib's wrappers of them are rebuilt, through the guard.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from joblib.numpy_pickle import NumpyUnpickler

from limecli.errors import ModelError
from limecli.models.guard import GuardedUnpickler, opcode_budget, read_pickle
from limecli.models.guard_calls import STAND_INS, UnknownUse, check_call
from limecli.models.guard_states import check_words
from limecli.models.info import WantedName
from limecli.models.interface import ModelFile
from limecli.models.skew import present_global
from limecli.models.trust import UntrustedNameError, refusal, replaced_main, trusted_names

_REBUILT = ("numpy", "numpy.dtypes", "numpy._core.multiarray", "numpy._core.numeric",
            "joblib.numpy_pickle", "_codecs", "builtins")  # fmt: skip


class Name:
    """A global that was asked for and not looked up."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.module else self.name


class Inert:
    """What would have been an object: the name that would have made it, and its contents."""

    def __init__(self, maker: Name, arguments: Any = ()) -> None:
        self.maker, self.arguments = maker, arguments
        self.state: Any = None
        self.items: list[tuple[Any, Any]] = []

    @property
    def attributes(self) -> dict[str, Any]:
        """Its attributes, as far as its state is a dictionary (or one beside slots)."""
        parts = self.state if isinstance(self.state, tuple) else (self.state,)
        found: dict[str, Any] = {}
        for part in parts:
            if isinstance(part, dict):
                found.update((key, value) for key, value in part.items() if isinstance(key, str))
        return found


@dataclass
class Contents:
    """What a pickle holds: its root object, the names that it wants, and what would be refused."""

    root: Any = None
    wants: dict[str, bool] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    damage: ModelError | None = None
    built: list[Inert] = field(default_factory=list)

    @property
    def names(self) -> tuple[WantedName, ...]:
        """Every global in the order of its first mention."""
        return tuple(WantedName(name, trusted) for name, trusted in self.wants.items())

    @property
    def untrusted(self) -> list[str]:
        """The names that would be refused."""
        return [name for name, trusted in self.wants.items() if not trusted]


def read_inert(file: ModelFile, trust: frozenset[str] = frozenset()) -> Contents:
    """Everything that a pickle holds and wants. A damaged one is read as far as it goes."""
    contents, budget = Contents(), opcode_budget(file)
    try:
        contents.root = read_pickle(
            file, lambda stream: _InertUnpickler(file.name, stream, trust, contents, budget)
        )
    except ModelError as error:
        contents.damage = error
    for item in contents.built:  # at the end: lists may have been filled since
        try:
            check_words(item.maker.name, item.attributes)
        except UnknownUse as error:
            what = f"it wants {error}: refused"
            if what not in contents.refusals and not item.maker.name.startswith("CatBoost"):
                contents.refusals.append(what)
    return contents


class _InertUnpickler(GuardedUnpickler):
    dispatch = GuardedUnpickler.dispatch.copy()

    def __init__(
        self,
        path: str,
        stream: IO[bytes],
        trust: frozenset[str],
        contents: Contents,
        budget: list[int],
    ) -> None:
        super().__init__(path, stream, trust, budget)
        self._contents = contents

    def find_class(self, module: str, name: str) -> Any:
        module, name = present_global(module, name)
        home = replaced_main(module, name, self._trust)
        full = f"{home}.{name}"
        known = (home, name) in trusted_names() or (home, name) in STAND_INS
        self._contents.wants[full] = known or full in self._trust
        if known and home in _REBUILT and full not in self._trust:
            return super().find_class(module, name)
        found = Name(home, name)
        may_call = trusted_names().get((home, name), known) or full in self._trust
        self._globals[id(found)] = (found, full, may_call)
        return found

    def _refuse(self, what: str) -> None:
        if what not in self._contents.refusals:
            self._contents.refusals.append(what)

    def _inner(self) -> NumpyUnpickler:
        return _InertUnpickler(
            self._path, self.file_handle, self._trust, self._contents, self._budget
        )

    def load_reduce(self) -> None:
        function, arguments = self.stack[-2], self.stack[-1]
        if not isinstance(function, Name):
            try:
                GuardedUnpickler.load_reduce(self)
                return
            except (UnknownUse, ModelError) as error:
                if isinstance(function, Inert):
                    self._refuse(f"it wants to call an object of {function.maker}: refused")
                else:
                    self._refuse(f"it wants {str(error).partition(' wants ')[2] or error}")
                function = Name("", "refused")
        _, name, may_call = self._globals.get(id(function), (None, "", True))
        if self._contents.wants.get(name):
            try:
                if not may_call:
                    raise UnknownUse(f"to call {name}, which may be named but not called")
                if (function.module, function.name) in STAND_INS:
                    pass  # what it is called with is a Name here: nothing to look at
                elif name not in self._trust and not _holds_inert(arguments):
                    check_call(name, arguments)
            except UnknownUse as error:
                self._refuse(f"it wants {error}: refused")
        if function.name == "_reconstructor" and isinstance(arguments, tuple) and arguments:
            function = arguments[0] if isinstance(arguments[0], Name) else function
        self.stack.pop()
        self.stack[-1] = Inert(function, arguments)

    def load_newobj(self) -> None:
        if isinstance(self.stack[-2], Inert):
            self._refuse(f"it wants to make an object of {self.stack[-2].maker}: refused")
            self.stack[-2] = self.stack[-2].maker
        if not isinstance(self.stack[-2], Name):
            GuardedUnpickler.load_newobj(self)
            return
        arguments, maker = self.stack.pop(), self.stack.pop()
        self.append(Inert(maker, arguments))

    def load_newobj_ex(self) -> None:
        keywords = self.stack.pop()
        self.load_newobj()
        self.stack[-1].arguments = (*self.stack[-1].arguments, keywords)
        self._refuse("it makes an object with an opcode that models do not use: refused")

    def load_build(self) -> None:
        target, state = self.stack[-2], self.stack[-1]
        if not isinstance(target, Inert | Name):
            GuardedUnpickler.load_build(self)
            return
        self.stack.pop()
        if isinstance(target, Name):
            self._refuse(f"it wants to change {target.module}.{target.name}: refused")
        else:
            target.state = state
            self._contents.built.append(target)
            saved = target.attributes.get("_sklearn_version")
            if isinstance(saved, str):
                self._contents.versions.setdefault("scikit-learn", saved)

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            target.items += [(None, item) for item in items]
        else:
            super()._extend(items)

    def load_additems(self) -> None:
        if isinstance(self.metastack[-1][-1], Inert):
            items = self.pop_mark()
            self._extend(items)
        else:
            super().load_additems()

    def _fill(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            target.items += list(zip(items[::2], items[1::2], strict=True))
        else:
            super()._fill(items)

    def load_inst(self) -> None:
        module, name = (self.readline()[:-1].decode("ascii", "replace") for _ in range(2))
        maker = self.find_class(module, name)
        self._rare(maker, tuple(self.pop_mark()))

    def load_obj(self) -> None:
        maker, *arguments = self.pop_mark()
        self._rare(maker, tuple(arguments))

    def _rare(self, maker: Any, arguments: tuple[Any, ...]) -> None:
        self._refuse("it makes an object with an opcode that models do not use: refused")
        self.append(Inert(maker if isinstance(maker, Name) else Name("", "refused"), arguments))

    def persistent_load(self, pid: Any) -> Any:
        self._refuse("it wants objects from outside the file (persistent id): refused")
        return Inert(Name("", "persistent id"), (pid,))

    def get_extension(self, code: int) -> Any:
        self._refuse(f"it wants a copyreg extension code ({code}): refused")
        self.append(Name("", f"extension {code}"))


_dispatch: dict[int, Callable[[_InertUnpickler], None]] = _InertUnpickler.dispatch
_dispatch[pickle.REDUCE[0]] = _InertUnpickler.load_reduce
_dispatch[pickle.NEWOBJ[0]] = _InertUnpickler.load_newobj
_dispatch[pickle.NEWOBJ_EX[0]] = _InertUnpickler.load_newobj_ex
_dispatch[pickle.BUILD[0]] = _InertUnpickler.load_build
_dispatch[pickle.APPEND[0]] = _InertUnpickler.load_append
_dispatch[pickle.APPENDS[0]] = _InertUnpickler.load_appends
_dispatch[pickle.ADDITEMS[0]] = _InertUnpickler.load_additems
_dispatch[pickle.SETITEM[0]] = _InertUnpickler.load_setitem
_dispatch[pickle.SETITEMS[0]] = _InertUnpickler.load_setitems
_dispatch[pickle.INST[0]] = _InertUnpickler.load_inst
_dispatch[pickle.OBJ[0]] = _InertUnpickler.load_obj


def _holds_inert(arguments: Any) -> bool:
    return isinstance(arguments, tuple) and any(
        isinstance(item, Inert | Name) for item in arguments
    )


def all_untrusted(
    file: ModelFile, trust: frozenset[str], error: UntrustedNameError
) -> UntrustedNameError:
    """The same refusal, with every further name that the file would be refused for."""
    if "--trust" not in error.hint:  # a name inside a name cannot be allowed
        return error
    names = [error.name, *read_inert(file, trust).untrusted]
    return refusal(file.name, list(dict.fromkeys(names)))


def walk(value: Any, depth: int = 6) -> Iterator[Any]:
    """A value and what is inside its lists, tuples and dictionaries, a few levels down."""
    yield value
    if depth == 0:
        return
    inside: Any = ()
    if isinstance(value, list | tuple):
        inside = value
    elif isinstance(value, dict):
        inside = value.values()
    for item in inside:
        yield from walk(item, depth - 1)
