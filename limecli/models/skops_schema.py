"""Checks the schema of a skops file before skops sees it.

skops asks for each name whether it is trusted, not what it is used for: a name that may be held
can be called there as a dictionary's key type, a list's class, a loss or a bound method. Here
every kind of node has a rule (`skops_nodes.py`). What passes is written into a new archive, so that
what was checked is what skops loads.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

from limecli.errors import ModelError
from limecli.models import trust
from limecli.models.compression import unpacked_limit
from limecli.models.guard_calls import STAND_INS
from limecli.models.interface import ModelFile
from limecli.models.skew import present_global
from limecli.models.skops_nodes import PLAIN, RULES, State

SCHEMA = "schema.json"
_PROTOCOLS = (1, 2)  # protocol 0 wrote functions differently; skops itself can hardly load it
_MAX_DEPTH = 150  # nodes inside nodes; a stack of pipelines in a search has about 30
_MAX_MEMBERS = 200_000
_CHUNK = 4096  # bzip2 and LZMA decompress what they are given without a bound


def read_members(file: ModelFile) -> dict[str, bytes]:
    """Every member of the archive, decompressed within the bounds that pickles have too."""
    limit = unpacked_limit(file)
    members: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
            entries = archive.infolist()
            if len(entries) > _MAX_MEMBERS:
                raise ModelError(f"{file.name} has {len(entries)} members: refused")
            for entry in entries:
                members[entry.filename] = _member(archive, entry, file, limit)
                limit -= len(members[entry.filename])
    except ModelError:
        raise
    except MemoryError:
        raise ModelError(f"{file.name} asks for more memory than there is") from None
    except Exception as error:  # zipfile and its decompressors raise many kinds
        raise damaged(file, error) from error
    return members


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, file: ModelFile, limit: int) -> bytes:
    found = io.BytesIO()
    with archive.open(entry) as stream:
        while chunk := stream.read(_CHUNK):
            if found.tell() + len(chunk) > limit:
                raise _too_big(file)
            found.write(chunk)
    return found.getvalue()


def _too_big(file: ModelFile) -> ModelError:
    return ModelError(f"{file.name} decompresses to more than {unpacked_limit(file) >> 20} MiB")


def damaged(file: ModelFile, error: BaseException) -> ModelError:
    """The one sentence for whatever a damaged file makes its readers raise."""
    what = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ModelError(f"{file.name} is a damaged skops file: {what[:200]}")


class SchemaCheck:
    """A skops file, read and judged, nothing in it built.

    `wants` holds every name and whether it is trusted, `refusals` what trusted names are put to
    that they may not be. Raises ModelError for a damaged file. Checking rewrites the names that
    libraries have changed. With `builds`, classes of the table are imported to see how they take
    their state.
    """

    def __init__(self, file: ModelFile, trust: frozenset[str], builds: bool = True) -> None:
        self.wants: dict[str, bool] = {}
        self.refusals: list[str] = []
        self.versions: dict[str, str] = {}
        self._file, self.trust = file, trust
        self.builds = builds
        self._kinds: dict[Any, int] = {}  # every different node, counted
        self._ids: dict[int, int] = {}
        self._members = read_members(file)
        self._referred: set[str] = set()
        self._left = unpacked_limit(file)
        try:
            self.schema: State = json.loads(self._members.get(SCHEMA, b""))
            self._check_protocol()
            self._visit(self.schema, 0)
        except ModelError:
            raise
        except Exception as error:  # keys that lack, values of another type, JSON too deep
            raise damaged(file, error) from error

    @property
    def untrusted(self) -> list[str]:
        """The names that would be refused."""
        return [name for name, trusted in self.wants.items() if not trusted]

    def member(self, name: str) -> bytes:
        """The bytes of an array's file."""
        return self._members[name]

    def archive(self) -> bytes:
        """What was checked, and nothing else, as a skops file."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name in sorted(self._referred - {SCHEMA}):
                archive.writestr(zipfile.ZipInfo(name), self._members[name])
            archive.writestr(zipfile.ZipInfo(SCHEMA), json.dumps(self.schema))
        return packed.getvalue()

    def _check_protocol(self) -> None:
        protocol = self.schema["protocol"]
        saved = self.schema.get("_skops_version")
        if isinstance(saved, str):
            self.versions["skops"] = saved
        if type(protocol) is not int or protocol not in _PROTOCOLS:
            raise ModelError(
                f"{self._file.name} is of skops protocol {str(protocol)[:20]}; limecli reads"
                f" {' and '.join(map(str, _PROTOCOLS))}",
                "save the model again with a current skops",
            )

    def _visit(self, state: State, depth: int) -> int:
        """Check a node and all below it; a number that equal nodes share."""
        if depth > _MAX_DEPTH:
            raise ModelError(
                f"{self._file.name} nests objects more than {_MAX_DEPTH} deep: refused"
            )
        loader = state["__loader__"]
        name = ""
        if loader != "JsonNode":  # which is always a plain value, whatever it is called
            name = self._name(state)
        rule = RULES.get(loader)
        if rule is None:
            self.refuse(f"a node of the kind {str(loader)[:40]}")
            return -1
        children, rest = rule(self, state)
        kind = (loader, name, rest, *(self._visit(child, depth + 1) for child in children))
        number = self._kinds.setdefault(kind, len(self._kinds))
        self._check_id(state.get("__id__"), number)
        return number

    def _check_id(self, saved: Any, number: int) -> None:
        # skops puts the first node of an id in the place of every later one, so two nodes of one
        # id that are not alike would move a node to where its rule did not see it.
        if saved is None:
            return
        if type(saved) is not int or self._ids.setdefault(saved, number) != number:
            self.refuse("two different objects under one id")

    def _name(self, state: State) -> str:
        module, name = state["__module__"], state["__class__"]
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError("a node without a name")
        module, name = present_global(module, name)
        module = trust.replaced_main(module, name, self.trust)
        state["__module__"], state["__class__"] = module, name
        full = f"{module}.{name}"
        known = name.isidentifier() and (
            (module, name) in trust.trusted_names() or (module, name) in STAND_INS or full in PLAIN
        )
        self.wants[full] = known or full in self.trust
        return full

    def name_of(self, state: State) -> str:
        """A node's "module.Name", as it is called today."""
        return ".".join(present_global(state["__module__"], state["__class__"]))

    def is_own(self, state: State) -> bool:
        """Whether the user vouches for the name."""
        return self.name_of(state) in self.trust

    def refuse(self, what: str) -> None:
        """Note that the file wants something that it may not have."""
        if what not in self.refusals:
            self.refusals.append(what)

    def require(self, allowed: bool, state: State, what: str = "call") -> None:
        """Refuse the use of a name unless it is allowed or the user vouches for the name."""
        if not allowed and not self.is_own(state):
            self.refuse(f"to {what} {self.name_of(state)}, which may be named but not that")

    def file_of(self, state: State) -> bytes:
        """The member that a node reads, counted each time: skops holds a copy for each."""
        name = state["file"]
        data = self._members[name]
        self._referred.add(name)
        self.take(len(data))
        return data

    def take(self, size: int) -> None:
        """Count bytes that loading will hold."""
        self._left -= size
        if self._left < 0:
            raise _too_big(self._file)
