"""What is in a PyTorch archive: its zip, its pickles and its modules, read with nothing run."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property

from limecli.errors import ModelError
from limecli.models.inert import Contents, read_inert
from limecli.models.interface import ModelFile

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # what torch.save wrote before zips
HOW_TO_SAVE = (
    "where the network was built: torch.jit.trace(model.eval(), example).save('model.pt'), or"
    " torch.export.save(torch.export.export(model.eval(), (example,)), 'model.pt2')"
)
# They read or write files, or reach memory that is not theirs.
_DENIED = re.compile(
    r"from_file|save|_?load\w*|_test\w*|.*data_ptr\w*|set_?|.*resize\w*|\w*_unsafe|_nested\w*|"
    r"_reinterpret\w*|record_stream|_record_function\w*|.*storage\w*"
)
_EXTRA_BYTES, _RATIO = 16 << 20, 20  # what an archive may unpack to: weights hardly compress
_SCRIPT_MEMBER = re.compile(
    r"code/.*\.py|(data|constants)(\.pkl|/\d+)|version|byteorder|\.data/version"
)
_HOOK = re.compile(rb"__(setstate|lt|enter|exit)__")  # called by no visible call
_PLAIN_NAME = re.compile(
    r"collections\.OrderedDict|builtins\.\w+|_codecs\.encode|numpy\.[\w.]+|"
    r"torch\.(_utils\._rebuild_\w+|_tensor\._rebuild_from_type_v2|Size|device|\w+Storage|"
    r"storage\.\w+|serialization\._get_layout|nn\.parameter\.Parameter|Tensor|"
    r"(float|int|uint|bfloat|complex)\d+|bool|jit\._pickle\.\w+)"
)


def is_torch(file: ModelFile) -> bool:
    """Whether the bytes are one of PyTorch's archives, cut off ones included."""
    names = file.zip_names
    if names:
        graphs = any(name.startswith("models/") and name.endswith(".json") for name in names)
        marks = {"data.pkl", "constants.pkl", "serialized_exported_program.json"}
        return bool(marks & names) or (graphs or "archive_format" in names)
    # The directory of a zip is at its end; torch pads each member's header with a field "FB".
    head = file.head
    length = int.from_bytes(head[26:28], "little")
    padded = head.startswith(b"PK\x03\x04") and head[30 + length : 32 + length] == b"FB"
    return padded or head.startswith(LEGACY_MAGIC)


def allowed_operator(name: str) -> bool:
    """Whether an ATen operator only computes: `name` without namespace and overload."""
    return name.isidentifier() and not _DENIED.fullmatch(name)


class Archive:
    """The members of a torch archive, by their names without the outermost folder."""

    def __init__(self, file: ModelFile) -> None:
        self.name = file.name
        self._members: dict[str, zipfile.ZipInfo] = {}
        if file.head.startswith(LEGACY_MAGIC):
            self._legacy = file.data
            return
        self._legacy = b""
        with self.reading("its directory"):
            self._zip = zipfile.ZipFile(io.BytesIO(file.data))
        unpacked = 0
        infos = [info for info in self._zip.infolist() if not info.is_dir()]
        if all(info.header_offset for info in infos):
            # Of a cut file the directory of an archive inside it may be left.
            raise ModelError(
                f"{file.name} is damaged: its end is missing", "copy or download it again"
            )
        folders = {info.filename.partition("/")[0] for info in infos}
        for info in infos:  # all but the oldest graphs lie in one folder
            name = info.filename.partition("/")[2] if len(folders) == 1 else info.filename
            if name in self._members:
                raise ModelError(f"{file.name} is damaged: it holds {name} twice")
            self._members[name] = info
            unpacked += info.file_size
        if unpacked > _RATIO * file.size + _EXTRA_BYTES:
            raise ModelError(
                f"{file.name} would unpack to {unpacked >> 20} MB from {file.size >> 10} kB:"
                " refused"
            )

    def reading(self, what: str) -> AbstractContextManager[None]:
        """A context in which whatever damage raises becomes a ModelError."""
        return _reading(self.name, what)

    @property
    def names(self) -> tuple[str, ...]:
        """Every member."""
        return tuple(self._members)

    def read(self, member: str) -> bytes:
        """A member's bytes, its checksum checked. Raises ModelError for a damaged or absent one."""
        if member not in self._members:
            raise ModelError(f"{self.name} is damaged: it has no {member}")
        with self.reading(member):
            return self._zip.read(self._members[member])

    @cached_property
    def graphs(self) -> tuple[str, ...]:
        """The JSON members that hold exported graphs."""
        names = (name for name in self._members if re.fullmatch(r"models/[^/]+\.json", name))
        old = "serialized_exported_program.json"
        return (old,) if old in self._members else tuple(sorted(names))

    @property
    def is_script(self) -> bool:
        """Whether it holds TorchScript: code in torch's own language."""
        return any(name.startswith("code/") for name in self._members)

    @cached_property
    def contents(self) -> Contents:
        """What the archive's main pickle holds, with nothing of it run."""
        data = self._object_of_legacy() if self._legacy else self.read("data.pkl")
        return read_inert(ModelFile(self.name, data))

    def _object_of_legacy(self) -> bytes:
        stream = io.BytesIO(self._legacy)
        with self.reading("its first pickles"):  # magic number, protocol, system
            for _ in range(3):
                for _ in pickletools.genops(stream):
                    pass
        return stream.read()

    def check_script(self) -> None:
        """Refuse what would run while torch.jit.load reads the archive."""
        for member in self._script_members():
            if not member.endswith((".py", ".pkl")):
                continue
            data = self.read(member)
            hook = _HOOK.search(data) if member.endswith(".py") else None
            if hook:
                raise ModelError(
                    f"{self.name} has code that would run unseen ({hook[0].decode()} in {member}):"
                    " refused",
                    "quantised networks and scripted `with` blocks have it: trace the network as"
                    " it was trained",
                )
            if re.search(rb"torch\s*\.?\s*classes", data):
                raise ModelError(f"{self.name} wants a class of torch.classes: refused")

    def script_bytes(self) -> bytes:
        """A fresh archive of nothing but what was checked: torch's zip reader sees no other."""
        rewritten = io.BytesIO()
        with zipfile.ZipFile(rewritten, "w") as out:
            for member in self._script_members():
                out.writestr(f"model/{member}", self.read(member))
        return rewritten.getvalue()

    def _script_members(self) -> list[str]:
        return [name for name in self._members if _SCRIPT_MEMBER.fullmatch(name)]

    def refusal(self) -> ModelError:
        """Why a file of torch.save is not opened: what its pickle wants, or that it is weights."""
        if any(name.startswith("data/aotinductor") for name in self._members):
            return ModelError(
                f"{self.name} holds machine code compiled by AOTInductor: refused", HOW_TO_SAVE
            )
        if "data.pkl" not in self._members and not self._legacy:
            return ModelError(f"{self.name} is a PyTorch archive without a model", HOW_TO_SAVE)
        contents = self.contents
        code = [name for name in contents.wants if not _PLAIN_NAME.fullmatch(name)]
        if not code and contents.damage:
            return ModelError(f"{self.name} is damaged: {contents.damage.message}")
        if not code:
            return ModelError(
                f"{self.name} holds only weights, not the network that computes with them",
                HOW_TO_SAVE,
            )
        code.sort(key=lambda name: name.startswith("torch."))  # what is not torch's comes first
        more = f" and {len(code) - 3} more" if len(code) > 3 else ""
        return ModelError(
            f"{self.name} is a pickle that wants {', '.join(code[:3])}{more}, which can run code:"
            " refused",
            HOW_TO_SAVE,
        )


@contextmanager
def _reading(name: str, what: str) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # zipfile, zlib, json, pickletools and torch raise their own
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{name} is damaged ({what}): {text}", "copy or download it again"
        ) from error
