"""The unpickler that runs nothing nobody approved.

A pickle is a program: it names globals, calls them and sets attributes. Here every (module, name)
pair is looked up in `trusted_names.txt`, exactly and before anything is imported; whatever is not
there is refused by name. A name in the table may be held as a value; only those marked "call" may
be called, and `guard_calls.py` looks at what they are called with.
`tests/make_trusted_names.py` writes the table from the installed libraries.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import importlib
import io
import lzma
import pickle
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

from joblib.compressor import BinaryZlibFile
from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler

from limecli import registry
from limecli.errors import ModelError
from limecli.models.guard_calls import STAND_INS, UnknownUse, check_call, check_state
from limecli.models.interface import ModelFile

MAX_BYTES = 8 << 30  # what a file may decompress to, at most
MAX_DEPTH = 200  # tuples inside tuples
MAX_RATIO = 200  # and how many times its own size, above the first 256 MiB
_RENAMED = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "_loss": "sklearn._loss._loss",  # what scikit-learn before 1.6 called its compiled losses
}


@cache
def trusted_names() -> dict[tuple[str, str], bool]:
    """The shipped table of exact (module, name) pairs, and whether a pickle may call them."""
    text = files("limecli.models").joinpath("trusted_names.txt").read_text("utf-8")
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {(words[0], words[1]): words[2:] == ["call"] for words in lines}


class UntrustedNameError(ModelError):
    """A pickle asks for a global that is not in the table."""

    def __init__(self, message: str, hint: str, name: str) -> None:
        super().__init__(message, hint)
        self.name = name


class MismatchError(ModelError):
    """The libraries installed here cannot rebuild what the pickle holds."""


def guarded_load(file: ModelFile, trust: frozenset[str] = frozenset()) -> Any:
    """Unpickle a plain pickle or a joblib file, compressed or not, in one pass over its bytes.

    `trust` holds further "module.Name" strings that the user vouches for. Raises
    UntrustedNameError for the first global that is not trusted, MismatchError when the installed
    libraries do not fit, or a ModelError that says how the file is damaged.
    """
    return read_pickle(file, lambda stream: GuardedUnpickler(file.name, stream, trust))


def unguarded_load(file: ModelFile) -> Any:
    """Unpickle a file whatever it wants: its code runs. For users who say that it may."""
    return read_pickle(file, lambda stream: _TrustingUnpickler(file.name, stream))


def read_pickle(file: ModelFile, unpickler: Callable[[IO[bytes]], NumpyUnpickler]) -> Any:
    """Run an unpickler over a file's decompressed bytes, every failure told in one sentence."""
    path = file.name
    try:
        with file.stream() as stream:
            return unpickler(_decompressed(stream, file)).load()
    except ModelError:
        raise
    except UnknownUse as error:
        raise ModelError(f"{path} wants {error}: refused") from None
    except (ImportError, AttributeError, TypeError, KeyError, ValueError) as error:
        if "EOF" in str(error):  # joblib's word for an array that is cut short
            raise ModelError(f"{path} is a damaged pickle: {_first_line(error)}") from error
        raise MismatchError(
            f"{path} cannot be rebuilt with the libraries installed here: {_first_line(error)}",
            "install the library versions that the model was saved with",
        ) from error
    except MemoryError:
        raise ModelError(f"{path} asks for more memory than there is") from None
    except Exception as error:  # a damaged pickle can raise nearly anything; it is still one fault
        raise ModelError(f"{path} is a damaged pickle: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class _Bounded(io.RawIOBase):
    """A decompressor's output, cut off with an error past MAX_BYTES."""

    def __init__(self, stream: IO[bytes], path: str, limit: int) -> None:
        self._stream, self._path, self._limit, self._left = stream, path, limit, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._stream.read(len(buffer))
        self._left -= len(chunk)
        if self._left < 0:
            raise ModelError(f"{self._path} decompresses to more than {self._limit >> 20} MiB")
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _zlib(stream: IO[bytes]) -> Any:
    return BinaryZlibFile(stream, "rb")


COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
    b"\x5d\x00\x00": lzma.LZMAFile,
    **dict.fromkeys((b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), _zlib),
}
"""How a compressed file begins, and what opens it."""


def _decompressed(raw: IO[bytes], file: ModelFile) -> IO[bytes]:
    for magic, opener in COMPRESSIONS.items():
        if file.head.startswith(magic):
            limit = min(MAX_BYTES, (256 << 20) + MAX_RATIO * file.size)
            return io.BufferedReader(_Bounded(opener(raw), file.name, limit))
    return raw


def present_name(module: str) -> str:
    """What a module is called today that an older library or Python called otherwise."""
    module = _RENAMED.get(module, module)
    if module == "numpy.core" or module.startswith("numpy.core."):
        module = "numpy._core" + module.removeprefix("numpy.core")
    return module


def _imported(module: str) -> Any:
    if module.startswith("numpy._core") and version("numpy").startswith("1."):
        module = "numpy.core" + module.removeprefix("numpy._core")
    return importlib.import_module(module)


def replaced_main(module: str, name: str, trust: frozenset[str]) -> str:
    """The module that now holds a class which lived in the script that saved the model.

    It is one that the user trusts under the same name: `--trust mymodule.Name` lets a pickle that
    wants `__main__.Name` have it.
    """
    homes = [known.rpartition(".")[0] for known in trust if known.rpartition(".")[2] == name]
    return homes[0] if module == "__main__" and len(homes) == 1 else module


class GuardedUnpickler(NumpyUnpickler):  # type: ignore[misc]
    """joblib's pure-Python unpickler (it reads plain pickles as well) behind the table."""

    dispatch = NumpyUnpickler.dispatch.copy()

    def __init__(self, path: str, stream: IO[bytes], trust: frozenset[str]) -> None:
        super().__init__(path, stream, ensure_native_byte_order=True)
        self._path, self._trust = path, trust
        # What find_class gave out, by identity: (the object, its name, whether it may be called).
        self._globals: dict[int, tuple[Any, str, bool]] = {}
        self._depths: dict[int, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        module = replaced_main(present_name(module), name, self._trust)
        trusted = f"{module}.{name}" in self._trust
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
                raise _refusal(self._path, module, name)
            may_call = trusted or trusted_names()[module, name]
            found = self._import(module, name)
        self._globals[id(found)] = (found, f"{module}.{name}", may_call)
        return found

    def _import(self, module: str, name: str) -> Any:
        library = module.partition(".")[0]
        try:
            return functools.reduce(getattr, name.split("."), _imported(module))
        except (ImportError, AttributeError) as error:
            if isinstance(error, ModuleNotFoundError) and error.name == library:
                raise ModelError(
                    f"{self._path} needs {module}.{name}, but {library} is not installed",
                    install_line(library),
                ) from None
            raise MismatchError(
                f"{self._path} needs {module}.{name}, which the installed {library} does not have",
                f"install the version of {library} that the model was saved with",
            ) from None
        except Exception as error:  # a module of the user's own may raise anything
            raise ModelError(
                f"{self._path} needs {module}.{name}, but importing {module} raised"
                f" {type(error).__name__}: {_first_line(error)}"
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
        pickle._Unpickler.load_reduce(self)  # type: ignore[attr-defined]

    def load_newobj(self) -> None:
        cls, arguments = self.stack[-2], self.stack[-1]
        _, name, _ = self._globals.get(id(cls), (None, "", False))
        if not name or (arguments != () and name not in self._trust):
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
        check_state(target, state)
        pickle._Unpickler.load_build(self)  # type: ignore[attr-defined]
        if isinstance(target, NumpyArrayWrapper):
            self.stack[-1] = self._array(target)

    def _array(self, wrapper: NumpyArrayWrapper) -> Any:
        if wrapper.dtype.hasobject:
            # The array's objects are a pickle of their own: it goes through the same guard, which
            # joblib's own reader does only for find_class.
            return self._inner().load()
        return NumpyArrayWrapper.read(wrapper, self, self.ensure_native_byte_order)

    def _inner(self) -> NumpyUnpickler:
        return GuardedUnpickler(self._path, self.file_handle, self._trust)

    def _bounded(self) -> None:
        # Hashing a tuple of tuples of tuples ... overruns the interpreter's stack.
        top = self.stack[-1]
        inner = (self._depths.get(id(item), 1) for item in top if type(item) is tuple)
        depth = 1 + max(inner, default=0)
        if depth > MAX_DEPTH:
            raise ModelError(f"{self._path} nests tuples more than {MAX_DEPTH} deep: refused")
        self._depths[id(top)] = depth


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
for _opcode in (pickle.OBJ, pickle.NEWOBJ_EX):
    _dispatch[_opcode[0]] = GuardedUnpickler.load_rare
for _opcode in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3):
    _dispatch[_opcode[0]] = _tuple_loader(_opcode)


class _TrustingUnpickler(NumpyUnpickler):  # type: ignore[misc]
    """joblib's own, but for the names that libraries have changed."""

    def __init__(self, path: str, stream: IO[bytes]) -> None:
        super().__init__(path, stream, ensure_native_byte_order=True)

    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(present_name(module), name)


_PACKAGES = {"sklearn": "scikit-learn", "imblearn": "imbalanced-learn",
             "category_encoders": "category-encoders", "PIL": "pillow"}  # fmt: skip


def install_line(library: str) -> str:
    """How to get a library that is not there, as a hint; "" when nobody knows its package."""
    if library in registry.available(registry.MODELS):
        return f"install it: pip install 'limecli[{library}]'"
    known = {module for module, _ in trusted_names()}
    if any(module.partition(".")[0] == library for module in known):
        return f"install it: pip install {_PACKAGES.get(library, library)}"
    return f"modules are looked for in {Path.cwd()} and in this environment"


def _refusal(path: str, module: str, name: str) -> UntrustedNameError:
    what = f"{path} wants {module}.{name}, which is not on limecli's list of trusted names: refused"
    if module == "__main__":
        return UntrustedNameError(
            what,
            f"the class {name} lived in the script that saved the model: move it into a module,"
            f" say mymodule.py in {Path.cwd()}, and pass --trust mymodule.{name}",
            f"{module}.{name}",
        )
    hint = f"if you wrote this file and know the name: --trust {module}.{name}"
    return UntrustedNameError(what, hint, f"{module}.{name}")
