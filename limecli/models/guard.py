"""The unpickler that runs nothing nobody approved.

A pickle is a program: it names globals, calls them and sets attributes. Here every (module, name)
pair is looked up in `trusted_names.txt`, exactly and before anything is imported; whatever is not
there is refused by name. A name in the table may be held as a value; only those marked "call" may
be called, and `guard_calls.py` looks at what they are called with.
`tests/make_trusted_names.py` writes the table from the installed libraries.
"""

from __future__ import annotations

import functools
import importlib
import pickle
import struct
import sys
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler

from limecli.errors import ModelError
from limecli.models.compression import MAX_BYTES, decompressed
from limecli.models.guard_calls import STAND_INS, UnknownUse, check_call
from limecli.models.guard_native import check_native
from limecli.models.guard_states import check_attributes, check_state
from limecli.models.interface import ModelFile
from limecli.models.skew import MismatchError, mended, mended_call, present_global, replacement
from limecli.models.trust import (
    UntrustedNameError,
    install_line,
    lived_in_script,
    not_found,
    refusal,
    replaced_main,
    trusted_names,
)
from limecli.models.versions import installed_version

MAX_DEPTH = 200  # tuples inside tuples
MAX_WEIGHT = 1_000_000  # tuples inside a tuple, each counted as often as it occurs
MAX_OPCODES = 5_000_000  # and half as many as the file has bytes


def guarded_load(file: ModelFile, trust: frozenset[str] = frozenset()) -> Any:
    """Unpickle a plain pickle or a joblib file, compressed or not, in one pass over its bytes.

    `trust` holds further "module.Name" strings that the user vouches for. Raises
    UntrustedNameError for the first global that is not trusted, MismatchError when the installed
    libraries do not fit, or a ModelError that says how the file is damaged.
    """
    budget = opcode_budget(file)
    return read_pickle(file, lambda stream: GuardedUnpickler(file.name, stream, trust, budget))


def opcode_budget(file: ModelFile) -> list[int]:
    """How many opcodes a file may still have, counted down by all that read it."""
    return [MAX_OPCODES + file.size // 2]


def unguarded_load(file: ModelFile, trust: frozenset[str] = frozenset()) -> Any:
    """Unpickle a file whatever it wants: its code runs. For users who say that it may.

    `trust` only says where the classes are now that lived in the script that saved the model.
    """
    return read_pickle(file, lambda stream: _TrustingUnpickler(file.name, stream, trust))


def read_pickle(file: ModelFile, unpickler: Callable[[IO[bytes]], NumpyUnpickler]) -> Any:
    """Run an unpickler over a file's decompressed bytes, every failure told in one sentence."""
    path = file.name
    try:
        with file.stream() as stream:
            unpacked = decompressed(stream, file)
            found = unpickler(unpacked).load()
            while unpacked is not stream and unpacked.read(1 << 20):
                pass  # the checksum comes last
            return found
    except MismatchError as error:
        error.message = error.message if path in error.message else f"{path}: {error.message}"
        raise
    except ModelError:
        raise
    except UnknownUse as error:
        raise ModelError(f"{path} wants {error}: refused") from None
    except (ImportError, AttributeError, TypeError, KeyError, ValueError) as error:
        if "EOF" in str(error):  # joblib's word for an array that is cut short
            raise _damaged(path, error) from error
        raise MismatchError(
            f"{path} cannot be rebuilt with the libraries installed here: {_first_line(error)}",
            "install the library versions that the model was saved with",
        ) from error
    except MemoryError:
        raise ModelError(f"{path} asks for more memory than there is") from None
    except Exception as error:  # a damaged pickle can raise nearly anything; it is still one fault
        raise _damaged(path, error) from error


_CUT_SHORT = ("EOF", "pickle data was truncated", "Ran out of input", "exhausted before end of")


def _damaged(path: str, error: Exception) -> ModelError:
    # The last is what `read(1)[0]` says.
    cut = isinstance(error, EOFError | struct.error) or str(error) == "index out of range"
    cut = cut or any(words in str(error) for words in _CUT_SHORT)
    what = "it ends too early" if cut else _first_line(error)
    return ModelError(f"{path} is a damaged pickle: {what}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(" :")


def _imported(module: str) -> Any:
    if module.startswith("numpy._core") and str(installed_version("numpy")).startswith("1."):
        module = "numpy.core" + module.removeprefix("numpy._core")
    return importlib.import_module(module)


class GuardedUnpickler(NumpyUnpickler):  # type: ignore[misc]
    """joblib's pure-Python unpickler (it reads plain pickles as well) behind the table."""

    dispatch = NumpyUnpickler.dispatch.copy()

    def __init__(
        self, path: str, stream: IO[bytes], trust: frozenset[str], budget: list[int]
    ) -> None:
        super().__init__(path, stream, ensure_native_byte_order=True)
        self._path, self._trust, self._budget = path, trust, budget
        self.dispatch = _Counted(type(self).dispatch, budget)
        # What find_class gave out, by identity: (the object, its name, whether it may be called).
        self._globals: dict[int, tuple[Any, str, bool]] = {}
        self._built: list[Any] = []
        self._depths: dict[int, tuple[int, int]] = {}  # of tuples: depth and weight

    def load(self) -> Any:
        found = super().load()
        # Lists and dictionaries that were looked at may have been filled since.
        vouched = self._vouched
        for target in self._built:
            if hasattr(target, "__dict__"):
                check_attributes(target, vars(target), vouched)
            check_native(target)
        return found

    @property
    def _vouched(self) -> frozenset[int]:
        """The ids of what the user trusts."""
        if not self._trust:
            return frozenset()
        return frozenset(key for key, (_, name, _) in self._globals.items() if name in self._trust)

    def find_class(self, module: str, name: str) -> Any:
        module, name = present_global(module, name)
        module = replaced_main(module, name, self._trust)
        trusted = module != "__main__" and f"{module}.{name}" in self._trust
        found = None if trusted else STAND_INS.get((module, name))
        may_call = True
        if found is None:
            if not trusted and not name.isidentifier():
                raise UntrustedNameError(
                    f"{self._path} wants {module}.{name}, a name inside a name: refused",
                    "write that part as a function in a module of your own, and save the model"
                    " again",
                    f"{module}.{name}",
                )
            if not trusted and (module, name) not in trusted_names():
                raise refusal(self._path, [f"{module}.{name}"])
            may_call = trusted or trusted_names()[module, name]
            found = self._import(module, name)
        self._globals[id(found)] = (found, f"{module}.{name}", may_call)
        return found

    def _import(self, module: str, name: str) -> Any:
        library = module.partition(".")[0]
        try:
            return functools.reduce(getattr, name.split("."), _imported(module))
        except (ImportError, AttributeError) as error:
            stand_in = replacement(module, name)
            if stand_in is not None:
                return stand_in
            if isinstance(error, ModuleNotFoundError) and error.name == library:
                raise ModelError(
                    f"{self._path} needs {module}.{name}, but {library} is not installed",
                    install_line(library),
                ) from None
            told = not_found(self._path, module, name, error)
            if told is not None:
                raise told from None
            raise MismatchError(
                f"{self._path} needs {module}.{name}, which the installed {library} does not have",
                f"install the version of {library} that the model was saved with",
            ) from None
        except Exception as error:  # a module of the user's own may raise anything
            raise ModelError(
                f"{self._path} needs {module}.{name}, but importing {module} raised"
                f" {type(error).__name__}: {_first_line(error)}",
                f"see where: python -c 'import {module}'",
            ) from error

    def _refused(self, what: str) -> ModelError:
        return ModelError(f"{self._path} wants {what}: refused")

    def persistent_load(self, pid: Any) -> Any:
        raise self._refused("objects from outside the file (persistent id)")

    def get_extension(self, code: int) -> Any:
        raise self._refused(f"a copyreg extension code ({code})")

    def load_reduce(self) -> None:
        function, arguments = self.stack[-2], self.stack[-1]
        _, name, may_call = self._globals.get(id(function), (None, type(function).__name__, False))
        if not may_call:
            raise self._refused(f"to call {name}, which may be named but not called")
        if name not in self._trust:
            check_call(name, arguments)
        self.stack[-1] = mended_call(name, arguments)
        pickle._Unpickler.load_reduce(self)  # type: ignore[attr-defined]
        if name.startswith("sklearn."):
            self._built.append(self.stack[-1])  # a tree that no state fills is no tree

    def load_newobj(self) -> None:
        cls, arguments = self.stack[-2], self.stack[-1]
        _, name, _ = self._globals.get(id(cls), (None, "", False))
        plain = arguments == () or _is_named_tuple(cls)
        if not name or not (plain or name in self._trust):
            raise self._refused(f"to make a {name or type(cls).__name__} with arguments of its own")
        pickle._Unpickler.load_newobj(self)  # type: ignore[attr-defined]

    def load_inst(self) -> None:
        module, name = (self.readline()[:-1].decode("ascii", "replace") for _ in range(2))
        self.find_class(module, name)  # an unknown name is refused by name
        self.load_rare()

    def load_rare(self) -> None:
        raise self._refused("an object made by an opcode that models do not use")

    def load_build(self) -> None:
        target, state = self.stack[-2], self.stack[-1]
        if id(target) in self._globals:
            # On a class or function this would change it for the whole process.
            raise self._refused(f"to change {self._globals[id(target)][1]}")
        check_state(target, state, self._vouched)
        self.stack[-1] = mended(target, state)
        pickle._Unpickler.load_build(self)  # type: ignore[attr-defined]
        self._built.append(target)
        if hasattr(target, "hasobject"):  # a dtype, which the next array relies on
            check_native(target)
        if isinstance(target, NumpyArrayWrapper):
            self.stack[-1] = self._array(target)

    def _array(self, wrapper: NumpyArrayWrapper) -> Any:
        if wrapper.dtype.hasobject:
            # The array's objects are a pickle of their own: it goes through the same guard, which
            # joblib's own reader does only for find_class.
            return self._inner().load()
        return NumpyArrayWrapper.read(wrapper, self, self.ensure_native_byte_order)

    def _inner(self) -> NumpyUnpickler:
        return GuardedUnpickler(self._path, self.file_handle, self._trust, self._budget)

    def _bounded(self) -> None:
        # Hashing a tuple of tuples of tuples ... overruns the interpreter's stack.
        top = self.stack[-1]
        inner = [self._depths.get(id(item), (1, 1)) for item in top if type(item) is tuple]
        depth = 1 + max((item[0] for item in inner), default=0)
        weight = 1 + sum(item[1] for item in inner)
        if depth > MAX_DEPTH or weight > MAX_WEIGHT:
            raise ModelError(f"{self._path} nests tuples too deeply or too often: refused")
        self._depths[id(top)] = (depth, weight)

    def load_bytearray8(self) -> None:
        # The usual way makes room for as many bytes as the file claims.
        (size,) = struct.unpack("<Q", self.read(8))
        data = self.read(size) if size < MAX_BYTES else b""
        if len(data) != size:
            raise EOFError("pickle data was truncated")
        self.append(bytearray(data))

    # The usual ones call append, extend or add of the object, whatever a pickle has put there.

    def load_append(self) -> None:
        value = self.stack.pop()
        self._extend([value])

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list and not isinstance(target, deque):
            raise self._refused(f"to append to a {type(target).__name__}")
        target.extend(items)

    def load_additems(self) -> None:
        items = self.pop_mark()
        target = self.stack[-1]
        if type(target) is not set:
            raise self._refused(f"to add to a {type(target).__name__}")
        target.update(items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([key, value])

    def load_setitems(self) -> None:
        self._fill(self.pop_mark())

    def _fill(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise self._refused(f"to set items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(target) is not dict and isinstance(key, str) and key.startswith("__"):
                # A Bunch would answer for it: numpy asks for __array_interface__, and reads there.
                raise self._refused(f"to set {key} of a {type(target).__name__}")
            target[key] = value


def _is_named_tuple(cls: Any) -> bool:
    return isinstance(cls, type) and cls.__bases__ == (tuple,) and hasattr(cls, "_fields")


class _Counted(dict[int, Any]):
    """The table of opcodes, which a pickle may look into only so many times."""

    def __init__(self, table: dict[int, Any], budget: list[int]) -> None:
        super().__init__(table)
        self._budget = budget  # shared: an array of objects is a pickle inside the pickle

    def __getitem__(self, code: int) -> Any:
        self._budget[0] -= 1
        if self._budget[0] < 0:
            raise MemoryError
        loader = self.get(code)
        if loader is None:
            raise pickle.UnpicklingError(f"byte 0x{code:02x} is no pickle opcode")
        return loader


def _tuple_loader(opcode: bytes) -> Callable[[GuardedUnpickler], None]:
    plain = NumpyUnpickler.dispatch[opcode[0]]

    def load(unpickler: GuardedUnpickler) -> None:
        plain(unpickler)
        unpickler._bounded()

    return load


_dispatch: dict[int, Callable[[GuardedUnpickler], None]] = GuardedUnpickler.dispatch
_dispatch[pickle.REDUCE[0]] = GuardedUnpickler.load_reduce
_dispatch[pickle.NEWOBJ[0]] = GuardedUnpickler.load_newobj
_dispatch[pickle.BUILD[0]] = GuardedUnpickler.load_build
_dispatch[pickle.INST[0]] = GuardedUnpickler.load_inst
_dispatch[pickle.BYTEARRAY8[0]] = GuardedUnpickler.load_bytearray8
_dispatch[pickle.APPEND[0]] = GuardedUnpickler.load_append
_dispatch[pickle.APPENDS[0]] = GuardedUnpickler.load_appends
_dispatch[pickle.ADDITEMS[0]] = GuardedUnpickler.load_additems
_dispatch[pickle.SETITEM[0]] = GuardedUnpickler.load_setitem
_dispatch[pickle.SETITEMS[0]] = GuardedUnpickler.load_setitems
for _opcode in (pickle.OBJ, pickle.NEWOBJ_EX):
    _dispatch[_opcode[0]] = GuardedUnpickler.load_rare
for _opcode in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3):
    _dispatch[_opcode[0]] = _tuple_loader(_opcode)


class _TrustingUnpickler(NumpyUnpickler):  # type: ignore[misc]
    """joblib's own, but for the names that libraries have changed."""

    dispatch = NumpyUnpickler.dispatch.copy()

    def __init__(self, path: str, stream: IO[bytes], trust: frozenset[str]) -> None:
        super().__init__(path, stream, ensure_native_byte_order=True)
        self._path, self._trust = path, trust
        self.dispatch = _Counted(type(self).dispatch, [sys.maxsize])

    def load_build(self) -> None:
        self.stack[-1] = mended(self.stack[-2], self.stack[-1])
        NumpyUnpickler.load_build(self)

    def find_class(self, module: str, name: str) -> Any:
        module, name = present_global(module, name)
        module = replaced_main(module, name, self._trust)
        if module == "__main__":  # limecli's own
            raise ModelError(
                f"{self._path} needs __main__.{name}, which is not here",
                f"{lived_in_script(name)} --trust mymodule.{name} as well",
            )
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError) as error:
            stand_in = replacement(module, name)
            if stand_in is None:
                raise not_found(self._path, module, name, error) or error from None
            return stand_in


_TrustingUnpickler.dispatch[pickle.BUILD[0]] = _TrustingUnpickler.load_build
