"""The README is true: its commands run, its output is real, its reference is complete.

After an intended change: GOLDEN=write python -m pytest tests/test_readme.py, then read the diff.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
from enum import Enum
from typing import get_args

import pytest
import typer

from limecli.cli import app
from tests.conftest import ROOT

README = ROOT / "README.md"
WRITE = os.environ.get("GOLDEN") == "write"
BLOCK = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)```", re.DOTALL)
REFERENCE = re.compile(r"(<!-- reference: [^\n]+ -->\n)(.*?)(<!-- end of reference -->)", re.DOTALL)
READY = re.compile(r" +(ready|pip install '.*')$", re.MULTILINE)  # which extras are here
TEXT = README.read_text("utf-8")


def output_of(cli, command):
    name, *words = shlex.split(command)
    assert name == "limecli"
    result = cli(*words)
    return result.stderr + result.stdout


@pytest.mark.parametrize("command", [match["command"] for match in BLOCK.finditer(TEXT)])
def test_an_example_gives_what_the_readme_shows(cli, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    output = output_of(cli, command)
    if WRITE:
        text = README.read_text("utf-8")
        found = next(m for m in BLOCK.finditer(text) if m["command"] == command)
        README.write_text(text[: found.start("output")] + output + text[found.end("output") :])
        return
    (shown,) = {m["output"] for m in BLOCK.finditer(TEXT) if m["command"] == command}
    assert READY.sub("", output) == READY.sub("", shown)


def choices(annotation):
    """The values of an option that takes one of a few."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    return [item.value for kind in kinds if issubclass(kind, Enum) for item in kind]


def commands(group, above=""):
    """Every command with its whole name, in the order of their registration."""
    for command in group.registered_commands:
        yield above + command.name, command
    for inner in group.registered_groups:
        yield from commands(inner.typer_instance, f"{above}{inner.name} ")


def reference():
    """All commands with their arguments and options, as Markdown tables."""
    lines = []
    for name, command in commands(app):
        lines += [f"### limecli {name}", "", command.callback.__doc__.strip(), ""]
        lines += ["| | |", "|---|---|"]
        for parameter in inspect.signature(command.callback).parameters.values():
            annotation, info = get_args(parameter.annotation)
            first = [info.default] if isinstance(info.default, str) else []  # where typer keeps it
            named = [*first, *(info.param_decls or ())]
            if isinstance(info, typer.models.OptionInfo):
                named = named or ["--" + parameter.name.replace("_", "-")]
                value = info.metavar or "|".join(choices(annotation))
            else:
                named, value = [info.metavar], ""
            spelled = ", ".join(named) + (f" {value}" if value else "")
            cells = (f"`{spelled}`", info.help)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def test_the_reference_names_every_option():
    if WRITE:
        text = README.read_text("utf-8")
        README.write_text(REFERENCE.sub(lambda m: m[1] + reference() + m[3], text))
        return
    assert REFERENCE.search(TEXT)[2] == reference()


def test_the_two_commands_are_one_line_each():
    commands = [line for line in TEXT.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert "pip install . && limecli tabular sample_models/penguins.pkl" in commands[0]
    assert "pytest" in commands[1]
    assert commands[1] in run_script() or "README.md" in run_script()


def run_script():
    return (ROOT / ".ci" / "run").read_text()
