"""Names for a model's outputs: a file of the user's, or ImageNet's thousand."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from limecli.errors import InputError
from limecli.inputs.files import read_input


def imagenet_names() -> tuple[str, ...]:
    """ImageNet's 1000 class names in the order of the outputs. Two names occur twice."""
    text = files("limecli.inputs").joinpath("imagenet_classes.txt").read_text("utf-8")
    return tuple(text.splitlines())


def read_class_names(choice: str) -> tuple[str, ...]:
    """Read "imagenet", or a file: one name a line, a JSON list, or a JSON object by index.

    The object's values may be pairs as in Keras' class index. Raises InputError for anything else.
    """
    if choice == "imagenet":
        return imagenet_names()
    file = read_input(choice)
    text = file.text()
    if text.lstrip()[:1] not in ("[", "{"):
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        content = json.loads(text)
        if isinstance(content, dict):
            content = [content[str(i)] for i in range(len(content))]
        return tuple(_name(item) for item in content)
    except (ValueError, KeyError, IndexError, RecursionError) as error:
        raise InputError(
            f"{choice} cannot be read as class names: {error}",
            'use one name a line, ["a", "b"], or {"0": "a", "1": "b"}',
        ) from None


def _name(item: Any) -> str:
    return str(item[-1] if isinstance(item, list) else item)
