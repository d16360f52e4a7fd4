"""The table of trusted names, and what is said of a name that is not in it."""

from __future__ import annotations

from functools import cache
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
    wants `__main__.Name` have it.
    """
    homes = [known.rpartition(".")[0] for known in trust if known.rpartition(".")[2] == name]
    return homes[0] if module == "__main__" and len(homes) == 1 else module


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


def refusal(path: str, names: list[str]) -> UntrustedNameError:
    """The sentence that refuses a file for the names that it wants, and says how to allow them."""
    first, others = names[0], names[1:_LISTED]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    also = f" (nor are {', '.join(others)}{more})" if others else ""
    where = f"which is not on limecli's list of trusted names{also}"
    flags = [f"--trust {name.replace('__main__.', 'mymodule.', 1)}" for name in names[:_LISTED]]
    hint = f"if you wrote this file and know the name{'s' if others else ''}: {' '.join(flags)}"
    if first.startswith("__main__."):
        hint = (
            f"the class {first.partition('.')[2]} lived in the script that saved the model: move it"
            f" into a module, say mymodule.py in {Path.cwd()}, and pass {' '.join(flags)}"
        )
    return UntrustedNameError(f"{path} wants {first}, {where}: refused", hint, first)
