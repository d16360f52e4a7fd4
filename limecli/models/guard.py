"""The unpickler that runs nothing nobody approved.

A pickle is a program: it names globals and calls them. Here every (module, name) pair is looked up
in `trusted_names.txt`, exactly and before anything is imported; whatever is not there is refused by
name. `tests/make_trusted_names.py` writes that table from the installed libraries.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import importlib
import io
import lzma
import pickle
import types
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, Self, cast

from joblib.compressor import BinaryZlibFile
from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler

from limecli.errors import ModelError

MAX_BYTES = 8 << 30  # what a file may decompress to
_RENAMED = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "_loss": "sklearn._loss._loss",  # what scikit-learn before 1.6 called its compiled losses
}
_FROZEN = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.MethodType)


@cache
def trusted_names() -> frozenset[tuple[str, str]]:
    """The shipped table of exact (module, name) pairs."""
    text = files("limecli.models").joinpath("trusted_names.txt").read_text("utf-8")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return frozenset(cast("tuple[str, str]", tuple(line.split(" "))) for line in lines)


def guarded_load(data: bytes, path: Path, trust: frozenset[str] = frozenset()) -> Any:
    """Unpickle a plain pickle or a joblib file, compressed or not.

    `trust` holds further "module.Name" strings that the user vouches for. Raises ModelError naming
    the first global that is not trusted, or saying how the file is damaged.
    """
    try:
        return _GuardedUnpickler(path, _decompressed(data, path), trust).load()
    except ModelError:
        raise
    except _UnknownUse as error:
        raise ModelError(f"{path} wants {error}: refused") from None
    except (ImportError, AttributeError, TypeError, KeyError, ValueError) as error:
        if "EOF" in str(error):  # joblib's word for an array that is cut short
            raise ModelError(f"{path} is a damaged pickle: {_first_line(error)}") from error
        raise ModelError(
            f"{path} cannot be rebuilt with the libraries installed here: {_first_line(error)}",
            "install the library versions that the model was saved with",
        ) from error
    except MemoryError:
        raise ModelError(f"{path} asks for more memory than there is") from None
    except Exception as error:  # a damaged pickle can raise nearly anything; it is still one fault
        raise ModelError(f"{path} is a damaged pickle: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class _UnknownUse(Exception):  # noqa: N818 - names the use, the message names the fault
    """A trusted name put to a use that is not."""


class _Bounded(io.RawIOBase):
    """A decompressor's output, cut off with an error past MAX_BYTES."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream, self._path, self._left = stream, path, MAX_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._stream.read(len(buffer))
        self._left -= len(chunk)
        if self._left < 0:
            raise ModelError(f"{self._path} decompresses to more than {MAX_BYTES >> 30} GiB")
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _decompressed(data: bytes, path: Path) -> IO[bytes]:
    raw = io.BytesIO(data)
    openers: tuple[tuple[bytes, Callable[[io.BytesIO], Any]], ...] = (
        (b"\x1f\x8b", lambda f: gzip.GzipFile(fileobj=f)),
        (b"BZh", bz2.BZ2File),
        (b"\xfd7zXZ", lzma.LZMAFile),
        (b"\x5d\x00\x00", lzma.LZMAFile),
        (b"\x78", lambda f: BinaryZlibFile(f, "rb")),
    )
    for magic, opener in openers:
        if data.startswith(magic):
            return io.BufferedReader(_Bounded(opener(raw), path))
    return raw


def _latin1(text: object, encoding: object = "latin1") -> bytes:
    # How Python 2 style pickles carry bytes; the real codecs.encode reaches every codec.
    if isinstance(text, str) and encoding in ("latin1", "latin-1"):
        return text.encode("latin1")
    raise _UnknownUse("_codecs.encode for something other than latin-1 text")


class _CheckArray(functools.partial):  # type: ignore[type-arg]
    """`partial(check_array, ...)`, which HistGradientBoosting keeps for category columns.

    `functools.partial` itself would let a pickle call anything that it can name with arguments of
    its own; this one holds scikit-learn's check_array or nothing.
    """

    def __new__(cls, func: Any = None, /, *args: Any, **keywords: Any) -> Self:
        _require_check_array(func)
        return super().__new__(cls, func, *args, **keywords)

    def __setstate__(self, state: Any) -> None:
        _require_check_array(state[0])
        super().__setstate__(state)  # type: ignore[misc]


def _require_check_array(func: Any) -> None:
    from sklearn.utils.validation import check_array

    if func is not check_array:
        raise _UnknownUse("functools.partial of something other than check_array")


def _imported(module: str) -> Any:
    if module.startswith("numpy._core") and version("numpy").startswith("1."):
        module = "numpy.core" + module.removeprefix("numpy._core")
    return importlib.import_module(module)


class _GuardedUnpickler(NumpyUnpickler):  # type: ignore[misc]
    """joblib's pure-Python unpickler (it reads plain pickles as well) behind the table."""

    dispatch = NumpyUnpickler.dispatch.copy()

    def __init__(self, path: Path, stream: IO[bytes], trust: frozenset[str]) -> None:
        super().__init__(str(path), stream, ensure_native_byte_order=True)
        self._path, self._trust = path, trust

    def find_class(self, module: str, name: str) -> Any:
        module = _RENAMED.get(module, module)
        if module == "numpy.core" or module.startswith("numpy.core."):
            module = "numpy._core" + module.removeprefix("numpy.core")
        if (module, name) in _STAND_INS:
            return _STAND_INS[module, name]
        if (module, name) not in trusted_names() and f"{module}.{name}" not in self._trust:
            raise _refusal(self._path, module, name)
        try:
            return getattr(_imported(module), name)
        except (ImportError, AttributeError):
            library = module.partition(".")[0]
            raise ModelError(
                f"{self._path} needs {module}.{name}, which the installed {library} does not have",
                f"install the version of {library} that the model was saved with",
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise ModelError(
            f"{self._path} refers to objects outside the file (persistent id): refused"
        )

    def get_extension(self, code: int) -> Any:
        raise ModelError(f"{self._path} uses a copyreg extension code ({code}): refused")

    def load_build(self) -> None:
        # BUILD sets attributes: on a class or function that would change it for the whole process.
        if isinstance(self.stack[-2], _FROZEN):
            raise ModelError(f"{self._path} wants to change {self.stack[-2]!r}: refused")
        pickle._Unpickler.load_build(self)  # type: ignore[attr-defined]
        wrapper = self.stack[-1]
        if not isinstance(wrapper, NumpyArrayWrapper):
            return
        if wrapper.dtype.hasobject:
            # The array's objects are a pickle of their own: it goes through the same guard, which
            # joblib's own reader does only for find_class.
            inner = _GuardedUnpickler(self._path, self.file_handle, self._trust)
            self.stack[-1] = inner.load()
        else:
            self.stack[-1] = wrapper.read(self, self.ensure_native_byte_order)

    dispatch[pickle.BUILD[0]] = load_build


_STAND_INS: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _latin1,
    ("functools", "partial"): _CheckArray,
}


def _refusal(path: Path, module: str, name: str) -> ModelError:
    what = f"{path} wants {module}.{name}, which is not on limecli's list of trusted names: refused"
    if module == "__main__":
        return ModelError(
            what,
            f"the class {name} lived in the script that saved the model: move it into a module,"
            f" save the model again, and pass --trust yourmodule.{name} (the working directory is"
            " searched)",
        )
    return ModelError(what, f"if you wrote this file and know the name: --trust {module}.{name}")
