"""The table of trusted names, and what is said of a name that is not in it."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import packages_distributions
from importlib.resources import files
from pathlib import Path

from limecli import registry
from limecli.errors import ModelError

_LISTED = 9  # names in a refusal


@cache
def trusted_names() -> dict[tuple[str, str], bool]:
    """The shipped table of exact (module, name) pairs, and whether a pickle may call them."""
    text = files("limecli.models").joinpath("trusted_names.txt").read_text("utf-8")
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {(words[0], words[1]): words[2:] == ["call"] for words in lines}


def replaced_main(module: str, name: str, trust: frozenset[str]) -> str:
    """The module that now holds a class which lived in the script that saved the model.

    It is one that the user trusts under the same name: `--trust mymodule.Name` lets a pickle that
    wants `__main__.Name` have it. `__main__` itself is limecli's own, and never such a module.
    """
    known = (full.rpartition(".") for full in without_main(trust))
    homes = [home for home, _, last in known if last == name]
    return homes[0] if module == "__main__" and len(homes) == 1 else module


def without_main(trust: frozenset[str]) -> frozenset[str]:
    """The names that can be vouched for: those of `__main__` would be looked up in limecli's."""
    return frozenset(name for name in trust if not name.startswith("__main__."))


class UntrustedNameError(ModelError):
    """A pickle asks for a global that is not in the table."""

    def __init__(self, message: str, hint: str, name: str) -> None:
        super().__init__(message, hint)
        self.name = name


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


def not_found(path: str, module: str, name: str, error: Exception) -> ModelError | None:
    """What to say of a name that a module of the user's own lacks; None for a library's."""
    library = module.partition(".")[0]
    listed = any(known.partition(".")[0] == library for known, _ in trusted_names())
    if listed or library in packages_distributions():
        return None
    if module in sys.modules and isinstance(error, AttributeError):
        return ModelError(
            f"{path} needs {module}.{name}, but {module} has no {name}",
            f"define {name} in {module}, or name the module that has it: --trust"
            f" othermodule.{name}",
        )
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and (module == missing or module.startswith(f"{missing}.")):
        what = f"{path} needs {module}.{name}, but there is no module {missing}"
        return ModelError(what, install_line(library))
    told = (str(error).strip() or "nothing more").splitlines()[0]
    return ModelError(
        f"{path} needs {module}.{name}, but importing {module} raised"
        f" {type(error).__name__}: {told}",
        f"see where: python -c 'import {module}'",
    )


_OWN_CODE = ("cloudpickle.", "dill.")  # they write functions themselves into a file


def refusal(path: str, names: list[str]) -> UntrustedNameError:
    """The sentence that refuses a file for the names that it wants, and says how to allow them."""
    first, others = names[0], names[1:_LISTED]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    also = f" (nor are {', '.join(others)}{more})" if others else ""
    where = f"which is not on limecli's list of trusted names{also}"
    flags = [f"--trust {name.replace('__main__.', 'mymodule.', 1)}" for name in names[:_LISTED]]
    hint = f"if you wrote this file and know the name{'s' if others else ''}: {' '.join(flags)}"
    if first.startswith("__main__."):
        hint = f"{lived_in_script(first.partition('.')[2])} {' '.join(flags)}"
    if more:
        hint += "; limecli inspect lists them all"
    if any(name.startswith(_OWN_CODE) for name in names):
        hint = (
            "this file carries code of its own: --trust-pickle if you made it, or move the function"
            " into a module of your own and save the model again"
        )
    return UntrustedNameError(f"{path} wants {first}, {where}: refused", hint, first)


def lived_in_script(name: str) -> str:
    """What to do about a class of `__main__`; the options to pass follow."""
    return (
        f"the class {name} lived in the script that saved the model: move it into a module,"
        f" say mymodule.py in {Path.cwd()}, and pass"
    )
