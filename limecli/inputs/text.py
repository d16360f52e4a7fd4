"""A string, a file or stdin -> text Instances."""

from __future__ import annotations

import hashlib

from limecli.errors import InputError
from limecli.inputs.files import read_input
from limecli.types import Instance


def text_instance(text: str, index: int, path: str | None) -> Instance:
    """One text. Raises InputError when there is nothing in it."""
    where = path or "the text"
    if not text.strip():
        raise InputError(f"{where} is empty: there is nothing to explain")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return Instance(str(index), index, "text", text, digest, path)


def read_texts(path: str, lines: bool) -> list[Instance]:
    """The whole file as one text (its final newline dropped), or each non-empty line as one."""
    file = read_input(path)
    name = None if path == "-" else path
    content = file.text()
    if not lines:
        return [text_instance(content.removesuffix("\n").removesuffix("\r"), 0, name)]
    return line_instances(content, name)


def line_instances(content: str, path: str | None) -> list[Instance]:
    """Each line that holds something, its index counting all lines."""
    lines = (line.removesuffix("\r") for line in content.split("\n"))
    found = [text_instance(line, i, path) for i, line in enumerate(lines) if line.strip()]
    if not found:
        raise InputError(f"{path or 'the text'} is empty: there is nothing to explain")
    return found
