"""Malicious pickles, as generators: every payload is harmless and would leave a marker file.

The ideas are those of the published advisories on pickle scanners, of their test data, and our own;
`tests/models/test_corpus.py` runs them.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import marshal
import pickle
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn

SEED = 7


class Name:
    """A global, to stand where a value does."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Made:
    """An instance made without `__init__`, its attributes set by BUILD."""

    def __init__(self, module: str, name: str, **state: Any) -> None:
        self.cls, self.state = Name(module, name), state


class Call:
    """REDUCE of a callable with arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments


class Raw(bytes):
    """Opcodes as they are."""

    __slots__ = ()


def code(value: Any) -> bytes:
    """The opcodes that push a value; tuples, lists and dicts may hold the classes above."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, Name):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        return code(value.function) + code(value.arguments) + b"R"
    if isinstance(value, Made):
        return code(value.cls) + b")\x81" + code(value.state) + b"b"
    if type(value) is tuple:
        return b"(" + b"".join(map(code, value)) + b"t"
    if type(value) is list:
        return b"](" + b"".join(map(code, value)) + b"e"
    if type(value) is dict:
        return b"}(" + b"".join(code(key) + code(item) for key, item in value.items()) + b"u"
    return pickle.dumps(value, 2)[2:-1]


def written(*parts: Any, protocol: int = 4) -> bytes:
    """A whole pickle: the parts are pushed one after the other, the last one is the result."""
    return bytes((0x80, protocol)) + b"".join(map(code, parts)) + b"."


def short(text: str) -> bytes:
    """SHORT_BINUNICODE, or BINUNICODE for what is longer."""
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) < 256:
        return b"\x8c" + bytes([len(raw)]) + raw
    return b"X" + struct.pack("<I", len(raw)) + raw


@dataclass(frozen=True)
class Case:
    """One file: how it is built, and which words its refusal has."""

    kind: str
    name: str
    build: Callable[[Path], bytes]
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


CASES: list[Case] = []
BOMBS: list[Case] = []
PREDICTIONS: list[Case] = []
"""Files that may load as a model; what they do when it predicts must be nothing."""


def case(kind: str, name: str, build: Any, *words: str) -> None:
    """Add a case; `build` is a function of the marker, or the bytes."""
    target = {"bomb": BOMBS, "prediction": PREDICTIONS}.get(kind, CASES)
    target.append(Case(kind, name, build if callable(build) else lambda _: build, words))


# --- Globals that run, read, write, listen, import or give access to what does ----------------

# sh: takes a shell command; py: Python source; path: a file; call: something callable; none.
GLOBALS = """
os system sh; posix system sh; nt system sh; os popen sh; os execv path; os spawnlp sh
os fork none; os remove path; os mkdir path; os putenv sh; posix open path; os posix_spawn path
os.path exists path; subprocess Popen sh; subprocess call sh; subprocess run sh
subprocess check_output sh; subprocess getoutput sh; subprocess getstatusoutput sh
commands getoutput sh; popen2 popen3 sh; builtins eval py; builtins exec py; builtins compile py
builtins __import__ path; builtins getattr call; builtins setattr call; builtins open path
builtins input none; builtins breakpoint none; builtins vars none; builtins globals none
builtins map call; builtins apply call; builtins type call; builtins memoryview call
builtins delattr call; __builtin__ eval py; __builtin__ execfile path; __builtin__ file path
__builtin__ reload call; importlib import_module path; importlib.util spec_from_file_location path
imp load_source path; importlib.machinery SourceFileLoader path; importlib reload call
imp init_builtin path; pkgutil resolve_name path; pkgutil get_data path; zipimport zipimporter path
runpy run_path path; runpy run_module path; runpy _run_code py; pty spawn sh; platform popen sh
platform _syscmd_ver sh; socket socket none; socket create_connection path
socketserver TCPServer path; ssl get_server_certificate path; ssl SSLContext none
http.client HTTPSConnection path; httplib HTTPConnection path; http.server HTTPServer path
urllib.request urlopen path; urllib.request urlretrieve path; urllib2 urlopen path
requests get path; requests.api get path; aiohttp request path; xmlrpc.client ServerProxy path
ftplib FTP path; smtplib SMTP path; telnetlib Telnet path; imaplib IMAP4 path; poplib POP3 path
imaplib IMAP4_stream sh; nntplib NNTP path; webbrowser open path; antigravity geohash none
shutil rmtree path; shutil move path; shutil copyfile path; shutil make_archive path; pip main sh
pip._internal.cli.main main sh; ensurepip bootstrap none; ensurepip _run_pip sh; venv create path
setuptools setup none; pkg_resources run_script path; site main none; site addsitedir path
distutils.spawn spawn sh; distutils.file_util write_file path; distutils.core run_setup path
_distutils_hack do_override none; lib2to3.pgen2.pgen generate_grammar path
lib2to3.pgen2.grammar Grammar none; idlelib.run Executive none
idlelib.autocomplete AutoComplete none; idlelib.pyshell ModifiedInterpreter none
idlelib.calltip get_entity py; idlelib.debugobj ObjectTreeItem py; ctypes CDLL path
ctypes.util find_library path; ctypes string_at none; _ctypes dlopen path; cffi FFI none
code InteractiveInterpreter none; code interact none; codeop compile_command py; timeit timeit py
timeit Timer py; cProfile run py; cProfile runctx py; profile run py; profile Profile none
pdb run py; pdb runeval py; bdb Bdb none; trace Trace none; doctest debug_script py
doctest testsource path; unittest main none; unittest.mock _importer path
test.support.script_helper assert_python_ok sh; asyncio create_subprocess_shell sh
asyncio.unix_events _UnixSubprocessTransport sh; asyncio run call; multiprocessing Process call
multiprocessing.util spawnv_passfds path; multiprocessing.reduction send_handle none
concurrent.futures ProcessPoolExecutor none; logging FileHandler path
logging.config fileConfig path; logging.config listen none; logging.config _resolve path
pydoc pipepager sh; pydoc tempfilepager sh; pydoc locate path; _pyrepl.pager pipe_pager sh
_aix_support _read_cmd_output sh; _osx_support _read_output sh; uuid _get_command_stdout sh
operator attrgetter path; operator methodcaller path; operator itemgetter path
_operator attrgetter path; functools reduce call; functools partialmethod call
functools singledispatch call; _functools reduce call; itertools starmap call; itertools count none
types CodeType py; types FunctionType py; types MethodType call; marshal loads code
marshal load path; pickle loads pickle; _pickle loads pickle; cPickle loads pickle
pickle Unpickler path; pickle _loads pickle; shelve open path; dbm open path; plistlib load path
joblib load path; joblib.numpy_pickle load path; joblib.numpy_pickle_utils _read_fileobject path
joblib.memory Memory path; joblib.externals.cloudpickle loads pickle
joblib.externals.loky get_reusable_executor none; joblib.parallel Parallel none
joblib.func_inspect get_func_code call
joblib._memmapping_reducer reduce_array_memmap_backward call; cloudpickle loads pickle
cloudpickle.cloudpickle subimport path; cloudpickle.cloudpickle _make_function py
dill loads pickle; dill._dill _create_code py; dill._dill _import_module path; jsonpickle decode py
yaml unsafe_load py; numpy load path; numpy fromfile path; numpy memmap path; numpy genfromtxt path
numpy loadtxt path; numpy savetxt path; numpy save path; numpy vectorize call
numpy frompyfunc call; numpy apply_along_axis call; numpy fromregex path; numpy.lib.npyio load path
numpy.lib._npyio_impl load path; numpy.lib._datasource open path; numpy.ctypeslib load_library path
numpy.f2py run_main sh; numpy.f2py.crackfortran getlincoef py
numpy.f2py.crackfortran _eval_length py; numpy.f2py.crackfortran param_eval py
numpy.f2py.capi_maps load_f2cmap_file path; numpy.f2py.diagnose run_command sh
numpy.testing._private.utils runstring py; numpy.testing measure py
numpy.distutils.exec_command exec_command sh; numpy.lib.utils safe_eval py
numpy.core._internal _newnames call; numpy.lib._utils_impl source call
numpy.ma.core frombuffer none; numpy.core.records fromfile path; pandas read_pickle path
pandas eval py; pandas read_csv path; pandas read_html path; pandas HDFStore path
pandas.io.common get_handle path; pandas.compat.pickle_compat load path
pandas.core.computation.eval eval py; pandas.io.pickle read_pickle path
pandas.util._decorators deprecate call; pandas.core.internals.blocks new_block none
torch load path; torch.serialization load path; torch.hub load path
torch.utils.cpp_extension load path; torch.utils.bottleneck.__main__ run_cprofile py
torch.utils.collect_env run sh; torch.jit.unsupported_tensor_ops execWrapper py
torch._inductor.codecache compile_file sh; torch._dynamo.guards GuardBuilder none
torch.fx.experimental.symbolic_shapes ShapeEnv none; torch.utils._config_module ConfigModule none
torch.distributed.rpc.rpc_sync none call; keras.models load_model path; keras.utils get_file path
tensorflow.io write_file path; transformers pipeline path; onnxruntime InferenceSession path
xgboost Booster path; xgboost.core DMatrix path; lightgbm Booster path; lightgbm.basic Dataset path
catboost CatBoost path; catboost.core CatBoostClassifier path; sklearn.datasets load_files path
sklearn.datasets._base load_files path; sklearn.datasets fetch_openml path
sklearn.datasets load_svmlight_file path
sklearn.utils._testing assert_run_python_script_without_output path
sklearn.utils._mocking MockDataFrame none; sklearn.externals.joblib load path
sklearn.utils.fixes threadpool_info none; sklearn.utils.parallel Parallel none
sklearn.utils.validation check_is_fitted call; sklearn.metrics make_scorer call
sklearn.metrics._scorer make_scorer call; sklearn.metrics._scorer get_scorer path
scipy.io loadmat path; scipy.io savemat path; scipy.weave inline py; scipy.sparse load_npz path
scipy.sparse._matrix_io load_npz path; scipy.optimize minimize call; scipy.integrate quad call
scipy._lib._ccallback LowLevelCallable call; scipy.stats rv_continuous none
scipy.misc derivative call; scipy.stats._distn_infrastructure rv_generic none
scipy.stats._distn_infrastructure instancemethod call; skimage.io imread path; PIL.Image open path
PIL.ImageMath eval py; matplotlib.pyplot savefig path; jinja2 Template py; tarfile open path
zipfile ZipFile path; sqlite3 connect path; tempfile mktemp none; tempfile NamedTemporaryFile none
pathlib Path path; pathlib PosixPath path; io open path; io FileIO path; _io open path
_io FileIO path; codecs open path; codecs decode py; fileinput input path; fileinput FileInput path
linecache getlines path; mailcap findmatch sh; mailbox mbox path; cgi test none; cgitb Hook path
wsgiref.simple_server make_server path; bz2 open path; gzip open path; lzma open path
sys settrace call; sys setprofile call; sys exit none; sys modules none; sys _getframe none
sys addaudithook call; gc get_objects none; inspect currentframe none; inspect getattr_static call
atexit register call; signal signal call; signal alarm none; threading Thread call
threading Timer call; _thread start_new_thread call; sched scheduler none; weakref finalize call
weakref ref call; contextlib ExitStack none; copyreg add_extension path; copyreg __newobj__ call
copyreg __newobj_ex__ call; copy_reg constructor call; copyreg pickle call; copy deepcopy call
string Formatter none; ast literal_eval py; dis dis py; symtable symtable py
tracemalloc start none; faulthandler dump_traceback none; resource setrlimit none; mmap mmap none
fcntl fcntl none; select select none; crypt crypt path; getpass getpass none
readline read_init_file path; rlcompleter Completer none; cmd Cmd none; curses initscr none
tkinter Tk none; turtle Turtle none; _posixsubprocess fork_exec sh; _winapi CreateProcess sh
msvcrt getch none; winreg CreateKey path; _xxsubinterpreters run_string py
_testcapi run_in_subinterp py; _pydecimal Decimal none; nose.tools make_decorator call
py_compile compile path; compileall compile_file path; zipapp create_archive path
tabnanny check path; pyclbr readmodule path; modulefinder ModuleFinder none
sysconfig _init_posix none; limecli.models.guard guarded_load path; limecli.cli main none
limecli.models.guard unguarded_load path; __main__ Evil none
"""


def listed_globals() -> list[tuple[str, str, str]]:
    """(module, name, what it takes) of every global above."""
    return [
        (entry.split()[0], entry.split()[1], entry.split()[-1])
        for line in GLOBALS.strip().splitlines()
        for entry in line.split(";")
        if entry.strip()
    ]


def payload(takes: str, marker: Path) -> Any:
    """Arguments with which the real global would leave the marker, or at least do something."""
    source = f"open({str(marker)!r}, 'w')"
    compiled = compile(source, "x", "exec")
    return {
        "sh": (f"touch {marker}",),
        "py": (source,),
        "path": (str(marker), "w"),
        "call": (Name("os", "system"), (f"touch {marker}",)),
        "code": (marshal.dumps(compiled),),
        "pickle": (written(Call(Name("os", "system"), f"touch {marker}")),),
        "none": (),
    }[takes]


def with_reduce(module: str, name: str, arguments: Any, protocol: int) -> bytes:
    """GLOBAL and REDUCE."""
    return written(Call(Name(module, name), *arguments), protocol=protocol)


def in_text(module: str, name: str, arguments: Any) -> bytes:
    """Protocol 0: no magic byte, text only, when the arguments are text."""
    items = [f"V{item}\n".encode() if isinstance(item, str) else code(item) for item in arguments]
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(items) + b"tp0\nRp1\n."


def on_the_stack(module: str, name: str, arguments: Any) -> bytes:
    """STACK_GLOBAL in a frame."""
    body = short(module) + b"\x94" + short(name) + b"\x94\x93\x94" + code(arguments) + b"\x94R."
    return b"\x80\x04\x95" + struct.pack("<Q", len(body)) + body


def from_the_memo(module: str, name: str, arguments: Any) -> bytes:
    """STACK_GLOBAL of strings that lie in the memo, under numbers that a scanner miscounts."""
    head = short(name) + b"r\xff\xff\x00\x00" + b"0" + short(module) + b"q\x05" + b"0"
    decoys = short("collections") + b"\x94" + short("OrderedDict") + b"\x9400"
    return b"\x80\x05" + head + decoys + b"h\x05j\xff\xff\x00\x00\x93" + code(arguments) + b"R."


STYLES: dict[str, Callable[[str, str, Any], bytes]] = {
    "protocol 0": in_text,
    "protocol 1": lambda m, n, a: b"(" + code(Call(Name(m, n), *a)) + b"l.",
    "protocol 2": lambda m, n, a: with_reduce(m, n, a, 2),
    "protocol 3": lambda m, n, a: with_reduce(m, n, a, 3),
    "STACK_GLOBAL": on_the_stack,
    "memo": from_the_memo,
    "INST": lambda m, n, a: b"\x80\x02(" + b"".join(map(code, a)) + f"i{m}\n{n}\n.".encode(),
    "OBJ": lambda m, n, a: b"\x80\x02(" + code(Name(m, n)) + b"".join(map(code, a)) + b"o.",
    "NEWOBJ": lambda m, n, a: b"\x80\x04" + code(Name(m, n)) + code(a) + b"\x81.",
    "NEWOBJ_EX": lambda m, n, a: b"\x80\x04" + code(Name(m, n)) + code(a) + b"}\x92.",
    "BUILD": lambda m, n, a: b"\x80\x04" + code(Name(m, n)) + code((None, {"x": 1})) + b"b.",
    "held": lambda m, n, a: b"\x80\x05" + short("x") + code(Name(m, n)) + b"\x86.",
}


def _add_globals() -> None:
    styles = random.Random(SEED)
    order = list(STYLES)
    for index, (module, name, takes) in enumerate(listed_globals()):
        if index % len(order) == 0:
            styles.shuffle(order)
        style = order[index % len(order)]

        def build(
            marker: Path,
            module: str = module,
            name: str = name,
            takes: str = takes,
            way: str = style,
        ) -> bytes:
            arguments = payload(takes, marker)
            if takes in ("call", "code", "pickle") and way in ("protocol 0", "protocol 1"):
                return with_reduce(module, name, arguments, 2)
            return STYLES[way](module, name, arguments)

        home = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        wanted = "numpy._core" + home[10:] if home.startswith("numpy.core") else home
        case("global", f"{module}.{name} ({style})", build, f"{wanted}.{name}")
    for style, write in STYLES.items():
        case(
            "opcode",
            f"os.system, {style}",
            lambda marker, write=write: write("os", "system", (f"touch {marker}",)),
            "os.system",
        )


def _system(marker: Path) -> Call:
    return Call(Name("os", "system"), f"touch {marker}")


# --- Names that are not what they look like ---------------------------------------------------


def _stack_name(module: Any, name: Any) -> Callable[[Path], bytes]:
    def push(part: Any) -> bytes:
        return short(part) if isinstance(part, str) else code(part)

    return lambda marker: (
        b"\x80\x04" + push(module) + push(name) + b"\x93" + code((f"touch {marker}",)) + b"R."
    )


def _add_names() -> None:
    for module, name in (
        ("os", "path.join"),
        ("sklearn", "utils.os.system"),
        ("numpy", "f2py.os.system"),
        ("builtins", "dict.get"),
        ("builtins", "object.__subclasses__"),
        ("numpy", "__builtins__"),
        ("numpy", "add.__class__"),
        ("pandas", "DataFrame.to_csv"),
        ("numpy", "ndarray.tofile"),
        ("numpy", "core._internal.sys.modules"),
        ("builtins", "str.format"),
        ("sklearn", "os"),
        ("sklearn.base", "BaseEstimator.__init__.__globals__"),
        ("numpy", "os"),
        ("pandas", "io"),
        ("joblib.numpy_pickle", "NumpyArrayWrapper.read_mmap"),
        ("builtins", "type.mro"),
        ("builtins", "__dict__"),
        ("numpy", ""),
        ("", "system"),
        ("", ""),
        ("os.", "system"),
        (".os", "system"),
        ("sklearn..base", "BaseEstimator"),
        ("numpy ", "add"),
        ("numpy", " add"),
    ):
        case("name", f"{module!r} {name!r}", _stack_name(module, name), f"{module}.{name}")
    for module, name in (
        ("ｏｓ", "system"),
        ("os", "ｓｙｓｔｅｍ"),
        ("builtins", "ｅｖａｌ"),
        ("οs", "system"),
        ("numpy", "ａdd"),
        ("posix\u200b", "system"),
        ("ⅰmportlib", "import_module"),
        ("os\u202e", "metsys"),
        ("𝐨𝐬", "system"),
        ("OS", "system"),
        ("Numpy", "add"),
    ):
        case("name", f"look-alike {module!r} {name!r}", _stack_name(module, name), "wants")
    for odd in (
        "sys\ntem",
        "system\r\nlimecli: all is well",
        "sys\ttem",
        "sys\0tem",
        "system\x1b[2K\x1b[1A",
        "\x1b]0;title\x07system",
        "[bold red]system[/]",
        "\x9b31msystem",
        "system\x7f",
        "\ud800sys",
    ):
        case("escape", f"os {odd!r}", _stack_name("os", odd), "os")
        case("escape", f"module {odd!r}", _stack_name(odd, "system"), "wants")
    for index, (module, name) in enumerate(
        (
            (1, "system"),
            ("os", 2),
            (b"os", "system"),
            ("os", b"system"),
            (None, None),
            ([], {}),
            (
                Call(
                    Name("numpy._core.multiarray", "scalar"),
                    np.dtype("U2"),
                    "os".encode("utf-32-le"),
                ),
                "system",
            ),
            (Name("builtins", "str"), "system"),
        )
    ):
        case("name", f"no strings {index}", _stack_name(module, name), "STACK_GLOBAL")
    case("name", "a megabyte", _stack_name("os", "s" * (1 << 20)), "wants")
    case("name", "a megabyte of parts", _stack_name("os" + ".a" * (1 << 19), "b"), "wants")
    case("name", "empty stack", b"\x80\x04\x93.")
    case("name", "not UTF-8", b"\x80\x02cos\nsys\xfftem\n.")
    case("name", "INST not ASCII", b"\x80\x02(ios\nsys\xfftem\n.", "wants")


# --- Where a pickle hides: opcodes, second pickles, arrays, compression -----------------------


class _Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        import os

        return os.system, (f"touch {self.marker}",)


def _dumped(content: Callable[[Path], Any], **options: Any) -> Callable[[Path], bytes]:
    def build(marker: Path) -> bytes:
        buffer = io.BytesIO()
        joblib.dump(content(marker), buffer, **options)
        return buffer.getvalue()

    return build


def _object_array(marker: Path) -> Any:
    return np.array([1, _Evil(marker)], dtype=object)


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": zlib.compress,
    "zlib level 1": lambda data: zlib.compress(data, 1),
    "zlib level 9": lambda data: zlib.compress(data, 9),
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
}

_WRAPPER = {
    "subclass": Name("numpy", "ndarray"),
    "shape": (1,),
    "order": "C",
    "dtype": np.dtype("f8"),
    "allow_mmap": False,
    "numpy_array_alignment_bytes": 16,
}


def _wrapped(*after: bytes, **changes: Any) -> bytes:
    made = Made("joblib.numpy_pickle", "NumpyArrayWrapper", **{**_WRAPPER, **changes})
    return b"\x80\x04" + code(made) + b"".join(after)


def _add_hiding_places() -> None:
    for kind, opcode in (("PERSID", b"Pos.system\n"), ("BINPERSID", b"X\x02\x00\x00\x00osQ")):
        case("opcode", kind, b"\x80\x02" + opcode + b".", "persistent id")
    case("opcode", "BINPERSID of a global", lambda m: written(_system(m), Raw(b"Q")), "os.system")
    for kind, opcode in (
        ("EXT1", b"\x82\x01"),
        ("EXT2", b"\x83\x01\x01"),
        ("EXT4", b"\x84\x01\0\0\1"),
        ("EXT1 of 0", b"\x82\0"),
        ("EXT4 negative", b"\x84\xff\xff\xff\xff"),
    ):
        case("opcode", kind, b"\x80\x02" + opcode + b".", "evil.pkl")
    case("opcode", "NEXT_BUFFER", b"\x80\x05\x97.", "buffer")
    case("opcode", "READONLY_BUFFER", b"\x80\x05N\x98.", "evil.pkl")
    case("opcode", "protocol 6", b"\x80\x06cos\nsystem\n.", "evil.pkl")
    case(
        "opcode",
        "protocol twice",
        lambda m: b"\x80\x05\x80\x00" + written(_system(m))[2:],
        "os.system",
    )
    case(
        "opcode",
        "the global after POP_MARK",
        lambda m: written(Raw(b"(((1"), _system(m)),
        "os.system",
    )
    case("opcode", "a global popped again", written(Name("os", "system"), Raw(b"0N")), "os.system")
    case("opcode", "first in a tuple", lambda m: written((_system(m), 1)), "os.system")
    case("opcode", "a key of a dict", lambda m: written({Raw(code(_system(m))): 1}), "os.system")
    case(
        "opcode",
        "inside a trusted state",
        lambda m: written(Made("sklearn.base", "BaseEstimator", x=_system(m))),
        "os.system",
    )
    case(
        "opcode",
        "an argument of a trusted call",
        lambda m: written(Call(Name("collections", "deque"), [_system(m)])),
        "os.system",
    )
    for opcode in (
        b"R",
        b"b",
        b"\x81",
        b"\x92",
        b"o",
        b"a",
        b"e",
        b"s",
        b"u",
        b"\x90",
        b"t",
        b"0",
        b"2",
        b"1",
        b"\x93",
        b"\x94",
        b"h\x00",
        b"j\x00\x00\x00\xff",
        b"g77\n",
        b".",
    ):
        case("opcode", f"{opcode!r} on nothing", b"\x80\x04" + opcode + b".", "evil.pkl")
    case("opcode", "unknown opcode", b"\x80\x04\xff.", "evil.pkl")

    case("place", "a second pickle", lambda m: written({"a": 1}) + written(_system(m)), "dict")
    case("place", "after STOP", lambda m: written(1) + code(_system(m)), "evil.pkl")
    case(
        "place",
        "inner pickle as bytes",
        lambda m: written(Call(Name("pickle", "loads"), written(_system(m)))),
        "pickle.loads",
    )
    case("place", "object array in joblib", _dumped(_object_array), "posix.system")
    case("place", "object array, plain", lambda m: pickle.dumps(_object_array(m)), "posix.system")
    case(
        "place",
        "object array in a list",
        _dumped(lambda m: [np.zeros(3), _object_array(m)]),
        "posix.system",
    )
    case(
        "place",
        "structured array",
        _dumped(lambda m: np.array([(1, _Evil(m))], dtype=[("a", "i4"), ("b", "O")])),
        "posix.system",
    )
    case(
        "place",
        "0-d object array",
        _dumped(lambda m: np.array(_Evil(m), dtype=object)),
        "posix.system",
    )
    case("place", "joblib, no arrays", _dumped(_Evil), "posix.system")
    for method in ("zlib", "gzip", "bz2", "lzma", "xz"):
        case(
            "place",
            f"object array under joblib's {method}",
            _dumped(_object_array, compress=(method, 3)),
            "posix.system",
        )
    for method, compress in COMPRESSORS.items():
        case("place", f"{method}", lambda m, c=compress: c(written(_system(m))), "os.system")
        case(
            "place", f"{method} twice", lambda m, c=compress: c(c(written(_system(m)))), "evil.pkl"
        )
        if "level" not in method:
            # joblib's reader of zlib never ends
            case(
                "bomb" if method == "zlib" else "place",
                f"{method}, two members",
                lambda m, c=compress: c(written(_system(m))[:9]) + c(written(_system(m))[9:]),
                "evil.pkl",
            )
        case(
            "place",
            f"{method}, cut short",
            lambda m, c=compress: c(written(_system(m)))[:-9],
            "evil.pkl",
        )
    case(
        "place",
        "joblib zfile of old",
        lambda m: b"ZF" + b"0x0000000000000040".ljust(19) + zlib.compress(written(_system(m))),
        "evil.pkl",
    )

    for cls in ("NDArrayWrapper", "ZNDArrayWrapper"):
        case(
            "array",
            f"joblib's old {cls} names a file",
            lambda m, cls=cls: written(
                Made(
                    "joblib.numpy_pickle_compat",
                    cls,
                    filename=str(m),
                    subclass=Name("numpy", "memmap"),
                )
            ),
            f"joblib.numpy_pickle_compat.{cls}",
        )
        case(
            "array",
            f"{cls} under its older home",
            lambda m, cls=cls: written(Made("joblib.numpy_pickle", cls, filename=str(m))),
            f"joblib.numpy_pickle.{cls}",
        )
    case("array", "subclass memmap", _wrapped(subclass=Name("numpy", "memmap")), "numpy.memmap")
    case("array", "subclass os.system", _wrapped(subclass=Name("os", "system")), "os.system")
    case("array", "dtype is a class", _wrapped(dtype=Name("numpy", "float64")), "unsound")
    case("array", "dtype is a string", _wrapped(dtype="f8"), "unsound")
    case(
        "array",
        "dtype missing",
        written(Made("joblib.numpy_pickle", "NumpyArrayWrapper", shape=(1,))),
        "unsound",
    )
    for shape in ((-1,), (1 << 62,), (1 << 32, 1 << 32), ("1",), (1.5,), [1], None, (None,)):
        case("array", f"shape {shape}", _wrapped(shape=shape), "unsound")
    case("array", "read is shadowed", _wrapped(read=Name("builtins", "str")), "unsound")
    case("array", "its class is changed", _wrapped(__class__=Name("builtins", "dict")), "__class__")
    case(
        "array",
        "alignment beyond the end",
        _wrapped(b"\xff.", numpy_array_alignment_bytes=1 << 40),
        "evil.pkl",
    )
    case(
        "array",
        "alignment is text",
        _wrapped(b"\x01x.", numpy_array_alignment_bytes="a"),
        "evil.pkl",
    )
    case("array", "no bytes follow", _wrapped(shape=(1000,)), "evil.pkl")
    case(
        "array",
        "items of no size",
        _wrapped(b"\x01x.", shape=(1 << 40,), dtype=np.dtype("V0")),
        "evil.pkl",
    )
    case(
        "array",
        "memory map wanted",
        _wrapped(b"\x01x" + bytes(8) + b".", allow_mmap=True),
        "ndarray",
    )
    case(
        "array",
        "an object array that is another pickle",
        lambda m: _wrapped(written(_system(m)), dtype=np.dtype("O")),
        "os.system",
    )
    case(
        "array",
        "an address as an object",
        written(Call(Name("numpy._core.multiarray", "scalar"), np.dtype("O"), b"\x01" * 8)),
        "scalar",
    )
    case(
        "array",
        "frombuffer of objects",
        written(
            Call(Name("numpy._core.numeric", "_frombuffer"), b"\x01" * 8, np.dtype("O"), (1,), "C")
        ),
        "evil.pkl",
    )
    case(
        "array",
        "reconstruct another class",
        written(
            Call(
                Name("numpy._core.multiarray", "_reconstruct"),
                Name("pandas", "DataFrame"),
                (0,),
                b"b",
            )
        ),
        "_reconstruct",
    )


# --- Trusted names with hostile arguments and states ------------------------------------------

_PASS = Made("sklearn.metrics._scorer", "_PassthroughScorer", _estimator=None)
_ANY_SCORE = Made("sklearn.gaussian_process.kernels", "CompoundKernel", kernels=[_PASS])
"""A callable object that asks its one argument for its score."""


def _function(func: Any, **keywords: Any) -> Made:
    return Made(
        "sklearn.preprocessing._function_transformer",
        "FunctionTransformer",
        func=func,
        kw_args=keywords,
        validate=False,
        accept_sparse=True,
        check_inverse=False,
        feature_names_out=None,
        inverse_func=None,
        inv_kw_args=None,
        n_features_in_=7,
        _sklearn_version=sklearn.__version__,
    )


def _linear(**state: Any) -> Made:
    return Made(
        "sklearn.linear_model._logistic",
        "LogisticRegression",
        **{
            "classes_": np.array([0, 1]),
            "coef_": np.ones((1, 7)),
            "intercept_": np.ones(1),
            "n_features_in_": 7,
            "solver": "lbfgs",
            "_sklearn_version": sklearn.__version__,
            **state,
        },
    )


def _stack(content: Any, method: str, model: str = "StackingClassifier") -> Made:
    """A stack calls the named method of whatever it holds with whatever it is given."""
    return Made(
        "sklearn.ensemble._stacking",
        model,
        estimators_=[content],
        stack_method_=[method],
        estimators=[],
        passthrough=False,
        classes_=np.array([0, 1]),
        n_features_in_=7,
        final_estimator=_linear(),
        final_estimator_=_linear(),
        _sklearn_version=sklearn.__version__,
    )


def _pipeline(*steps: Any) -> Made:
    return Made(
        "sklearn.pipeline",
        "Pipeline",
        memory=None,
        verbose=False,
        transform_input=None,
        steps=[(f"s{i}", step) for i, step in enumerate(steps)],
        _sklearn_version=sklearn.__version__,
    )


def _giving_array(content: Any) -> list[Made]:
    """Steps that turn any input into this array: a slice is an object, its place is not written."""
    constant = np.array(content, dtype=object)
    return [
        _function(Name("builtins", "slice")),
        _function(Name("numpy", "positive"), out=constant, where=np.array(False)),
    ]


def _giving(text: str) -> list[Made]:
    return [*_giving_array(text), _function(Name("builtins", "str"))]


def _writes(marker: Path) -> Made:
    return _pipeline(*_giving(str(marker)), _stack(np.array([b"payload"]), "tofile"))


def _add_trusted_names() -> None:
    generator = Name("numpy.random._pickle", "__generator_ctor")
    state = Name("numpy.random._pickle", "__randomstate_ctor")
    case(
        "state",
        "a generator's maker calls anything",
        lambda m: written(Call(generator, _writes(m), _ANY_SCORE)),
        "to call",
    )
    case(
        "state",
        "a random state's maker calls anything",
        lambda m: written(Call(state, _writes(m), _ANY_SCORE)),
        "to call",
    )
    case(
        "state",
        "a bit generator's maker makes anything",
        written(
            Call(
                Name("numpy.random._pickle", "__bit_generator_ctor"),
                Name("sklearn.metrics._scorer", "_PassthroughScorer"),
            )
        ),
        "evil.pkl",
    )
    for attribute, opcodes in (("append", b"a"), ("extend", b"e"), ("add", b"\x90")):
        mark = Raw(b"" if opcodes == b"a" else b"(")
        case(
            "state",
            f"an attribute called {attribute} is called by its opcode",
            lambda m, a=attribute, o=opcodes, k=mark: written(
                Made("sklearn.base", "BaseEstimator", **{a: _ANY_SCORE}), k, _writes(m), Raw(o)
            ),
            "evil.pkl",
        )
    for attribute in (
        "__class__",
        "__dict__",
        "__reduce__",
        "__setstate__",
        "__getattr__",
        "__sklearn_tags__",
        "__sklearn_is_fitted__",
        "__array__",
        "__del__",
        "__array_interface__",
        "__array_function__",
        "__call__",
        "__len__",
    ):
        for form in ("dict", "slots"):
            content = {attribute: Name("builtins", "str")}
            case(
                "state",
                f"{attribute} in the {form} state",
                written(
                    Name("sklearn.linear_model._base", "LinearRegression"),
                    Raw(b")\x81"),
                    content if form == "dict" else (None, content),
                    Raw(b"b"),
                ),
                attribute,
            )
    for module, name in (
        ("sklearn.base", "BaseEstimator"),
        ("numpy", "add"),
        ("numpy", "mean"),
        ("builtins", "dict"),
        ("pandas", "DataFrame"),
        ("builtins", "object"),
        ("copyreg", "_reconstructor"),
        ("functools", "partial"),
        ("sklearn.pipeline", "Pipeline"),
    ):
        for form, content in (("dict", {"x": 1}), ("slots", (None, {"predict": 1}))):
            case(
                "state",
                f"BUILD on {module}.{name} ({form})",
                written(Name(module, name), content, Raw(b"b")),
                "to change",
                name,
            )
    case(
        "state",
        "SETITEM on a class",
        written(Name("builtins", "dict"), "x", 1, Raw(b"s")),
        "evil.pkl",
    )
    case(
        "state",
        "_codecs.encode with another codec",
        written(Call(Name("_codecs", "encode"), "x", "zlib")),
        "_codecs.encode",
    )
    case(
        "state",
        "_codecs.encode with Python escapes",
        written(Call(Name("_codecs", "encode"), "x", "unicode_escape")),
        "_codecs.encode",
    )
    case(
        "state",
        "partial of os.system",
        lambda m: written(Call(Name("functools", "partial"), Name("os", "system"), f"touch {m}")),
        "os.system",
    )
    case(
        "state",
        "partial of a trusted name",
        written(Call(Name("functools", "partial"), Name("numpy", "asarray"), 1)),
        "functools.partial",
    )
    case(
        "state",
        "partial's state holds another function",
        written(
            Call(Name("functools", "partial"), Name("sklearn.utils.validation", "check_array")),
            (Name("numpy", "asarray"), (), {}, {}),
            Raw(b"b"),
        ),
        "functools.partial",
    )
    case(
        "state",
        "defaultdict makes estimators",
        written(Call(Name("collections", "defaultdict"), Name("sklearn.pipeline", "Pipeline"))),
        "defaultdict",
    )
    case(
        "state",
        "reconstructor of a class in the way",
        written(
            Call(
                Name("copyreg", "_reconstructor"),
                Name("builtins", "str"),
                Name("pandas", "DataFrame"),
                1,
            )
        ),
        "_reconstructor",
    )
    case(
        "state",
        "a scipy distribution with source",
        lambda m: written(
            Made(
                "scipy.stats._continuous_distns",
                "norm_gen",
                _parse_arg_template=f"open({str(m)!r}, 'w')",
            )
        ),
        "norm_gen",
    )
    case(
        "state",
        "the same in slots",
        lambda m: written(
            Name("scipy.stats._continuous_distns", "beta_gen"),
            Raw(b")\x81"),
            (None, {"_parse_arg_template": f"open({str(m)!r}, 'w')"}),
            Raw(b"b"),
        ),
        "beta_gen",
    )
    for cls, arguments in (
        ("builtins.list", ([1],)),
        ("builtins.dict", ({},)),
        ("builtins.str", (b"x", "zlib")),
        ("builtins.object", ()),
        ("pandas.DataFrame", ({"a": [1]},)),
        ("numpy.ndarray", ((1 << 30,),)),
        ("sklearn.pipeline.Pipeline", ([],)),
        ("uuid.UUID", ("1" * 32,)),
        ("numpy.array", ([1],)),
    ):
        home, _, name = cls.rpartition(".")
        case("state", f"{cls} is called", written(Call(Name(home, name), *arguments)), cls)
    case(
        "state",
        "an instance is called",
        lambda m: written(Call(_PASS, _writes(m), 1)),
        "to call",
    )
    case(
        "state", "a callable of numpy's methods", written(Call(Raw(code("x")), "y")), "to call str"
    )
    for index, content in enumerate(
        (
            None,
            1,
            "text",
            b"bytes",
            [1],
            {"a": 1},
            (1,),
            {1},
            1.5,
            np.zeros(3),
            Name("builtins", "str"),
            Name("numpy", "add"),
        )
    ):
        case("value", f"plain value {index}", written(content), "holds a")


# --- Bombs: small files that ask for much memory or time --------------------------------------


def _doubled(first: bytes, pair: Callable[[int], bytes], times: int = 60) -> Raw:
    parts = [first, b"q\x00"]
    for index in range(times):
        parts += [pair(index), b"q", bytes([index + 1])]
    return Raw(b"".join(parts))


def _laughs(times: int = 60) -> Raw:
    return _doubled(b"]", lambda i: b"](h" + bytes([i]) + b"h" + bytes([i]) + b"e", times)


def _laughing_tuple(times: int = 60) -> Raw:
    return _doubled(b")", lambda i: b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86", times)


def _add_bombs() -> None:
    for name, opcode in (
        ("LONG4 of 2 GB", b"\x8b\xff\xff\xff\x7f"),
        ("LONG4 of less than nothing", b"\x8b\xff\xff\xff\xff"),
        ("BINBYTES of 4 GB", b"B\xff\xff\xff\xff"),
        ("BINUNICODE of 4 GB", b"X\xff\xff\xff\xff"),
        ("BINSTRING of less than nothing", b"T\xff\xff\xff\xff"),
        ("BINBYTES8 of 2^62", b"\x8e" + struct.pack("<Q", 1 << 62)),
        ("BINBYTES8 of 2^64", b"\x8e" + b"\xff" * 8),
        ("BINUNICODE8 of 2^62", b"\x8d" + struct.pack("<Q", 1 << 62)),
        ("BYTEARRAY8 of 2^40", b"\x96" + struct.pack("<Q", 1 << 40)),
        ("BYTEARRAY8 of 3 GB", b"\x96" + struct.pack("<Q", 3 << 30)),
        ("FRAME of 2^62", b"\x95" + struct.pack("<Q", 1 << 62)),
        ("FRAME of 3 GB", b"\x95" + struct.pack("<Q", 3 << 30)),
        ("INT of a million digits", b"I" + b"9" * 1_000_000 + b"\n"),
        ("LONG of a million digits", b"L" + b"9" * 1_000_000 + b"L\n"),
        ("FLOAT nan", b"Fnan\n"),
        ("FLOAT of a million digits", b"F" + b"9" * 1_000_000 + b"\n"),
        ("LONG_BINPUT far out", b"Nr\xff\xff\xff\xff"),
        ("PUT far out", b"Np" + b"9" * 4000 + b"\n"),
        ("many marks", b"(" * 300_000),
        ("lists in lists", b"]" * 200_000 + b"a" * 199_999),
        ("lists in lists by mark", b"(" * 200_000 + b"l" * 200_000),
        ("dicts in dicts", b"}" + b"N}" * 100_000 + b"s" * 100_000),
        ("tuples in tuples", b")" + b"\x85" * 1_000_000),
        ("tuples in tuples as a key", b"}(" + b")" + b"\x85" * 1_000_000 + b"Nu"),
        ("DUP many times", b"]" + b"2" * 300_000),
        ("a list inside itself", b"]q\x00h\x00a"),
        ("laughing lists", _laughs()),
        ("laughing lists as arguments", code(Call(Name("builtins", "set"), 7, _laughs()))),
        ("laughing tuples", _laughing_tuple()),
        ("laughing tuples as a key", _laughing_tuple() + b"}h<Ns"),
        ("laughing tuples in a set", b"\x8f(" + _laughing_tuple() + b"\x90"),
        (
            "laughing lists as a state",
            _laughs() + code(Name("sklearn.base", "BaseEstimator")) + b")\x81h<b",
        ),
        ("laughing lists as a persistent id", _laughs() + b"Q"),
        ("laughing lists as a dtype", code(Call(Name("numpy", "dtype"), _laughs(30)))),
        ("a Fraction of many digits", code(Call(Name("fractions", "Fraction"), "1e999999999"))),
        (
            "a Fraction of a large Decimal",
            code(
                Call(Name("fractions", "Fraction"), Call(Name("decimal", "Decimal"), "1e999999999"))
            ),
        ),
        (
            "a large Decimal as a key",
            b"}" + code(Call(Name("decimal", "Decimal"), "1e999999999")) + b"Ns",
        ),
        (
            "a set of an endless range",
            code(Call(Name("builtins", "set"), Call(Name("builtins", "range"), 10**12))),
        ),
        (
            "a list rebuilt from a range",
            code(
                Call(
                    Name("copyreg", "_reconstructor"),
                    Name("builtins", "list"),
                    Name("builtins", "list"),
                    Call(Name("builtins", "range"), 10**9),
                )
            ),
        ),
        (
            "a set rebuilt from a range",
            code(
                Call(
                    Name("copyreg", "_reconstructor"),
                    Name("builtins", "set"),
                    Name("builtins", "set"),
                    Call(Name("builtins", "range"), 10**9),
                )
            ),
        ),
        (
            "a generator made of a range",
            code(
                Call(
                    Name("numpy.random._pickle", "__generator_ctor"),
                    Call(Name("builtins", "range"), 10**9),
                    Name("builtins", "list"),
                )
            ),
        ),
        (
            "an Index of a range",
            code(
                Call(
                    Name("pandas.core.indexes.base", "_new_Index"),
                    Name("pandas", "Index"),
                    {"data": Call(Name("builtins", "range"), 10**9), "dtype": "float64"},
                )
            ),
        ),
        ("bytearray of 3 GB", code(Call(Name("builtins", "bytearray"), 3 << 30))),
        ("an array of 1 GB, no bytes", _wrapped(b"\x01x", shape=(1 << 27,))[2:]),
        (
            "an object dtype that says it is none",
            code(
                Call(
                    Name("numpy._core.multiarray", "scalar"),
                    Raw(
                        code(Call(Name("numpy", "dtype"), "O8", False, True))
                        + code((3, "|", None, None, None, -1, -1, 0))
                        + b"b"
                    ),
                    b"\x01" * 8,
                )
            ),
        ),
        (
            "such a dtype in an array of joblib's",
            _wrapped(
                b"\x01x" + b"\x01" * 8,
                dtype=Raw(
                    code(Call(Name("numpy", "dtype"), "O8", False, True))
                    + code((3, "|", None, None, None, -1, -1, 0))
                    + b"b"
                ),
            )[2:],
        ),
        (
            "fields beyond the item",
            code(
                Call(
                    Name("numpy._core.multiarray", "scalar"),
                    Raw(
                        code(Call(Name("numpy", "dtype"), "V8", False, True))
                        + code((3, "|", None, ("a",), {"a": (np.dtype("f8"), 1 << 40)}, 8, 1, 0))
                        + b"b"
                    ),
                    b"x" * 8,
                )
            ),
        ),
        (
            "a tree of many outputs",
            code(Call(Name("sklearn.tree._tree", "Tree"), 7, np.array([2]), 1 << 28)),
        ),
    ):
        case("bomb", name, b"\x80\x05" + bytes(opcode) + b".")
    colliding = {i * ((1 << 61) - 1): None for i in range(1, 3000)}
    case("bomb", "keys that collide", written(colliding))
    case("bomb", "names by the thousand", written(*[Name("os", f"n{i}") for i in range(10_000)]))
    for method in COMPRESSORS:
        if "level" not in method:
            case(
                "bomb",
                f"{method} of 340 MB of zeros",
                lambda _, method=method: _zeros(method, 340 << 20),
            )
    case("bomb", "gzip in gzip of 340 MB", lambda _: gzip.compress(_zeros("gzip", 340 << 20)))
    case(
        "bomb",
        "many gzip members",
        lambda _: gzip.compress(b"\x80\x04") + gzip.compress(b"N" * 10_000) * 100,
    )
    case("bomb", "a billion dicts", lambda _: _repeated("gzip", b"\x80\x04", b"}" * (1 << 20), 256))


def _zeros(method: str, size: int) -> bytes:
    """A bytes object of that many zeros in a pickle, compressed without holding it."""
    head = b"\x80\x04\x8e" + struct.pack("<Q", size)
    return _repeated(method, head, bytes(1 << 20), size >> 20)


def _repeated(method: str, head: bytes, chunk: bytes, times: int) -> bytes:
    if method in ("gzip", "bz2", "xz"):  # streams of them may follow one another
        return COMPRESSORS[method](head) + COMPRESSORS[method](chunk) * times
    compressor: Any = zlib.compressobj(9)
    if method == "lzma":
        compressor = lzma.LZMACompressor(lzma.FORMAT_ALONE, preset=0)
    parts = [compressor.compress(head), *(compressor.compress(chunk) for _ in range(times))]
    return b"".join(parts) + compressor.flush()


# --- Models that load, and do something when they predict -------------------------------------


def _add_predictions() -> None:
    def add(name: str, model: Callable[[Path], Any]) -> None:
        case("prediction", name, lambda marker: written(model(marker)))

    add("a stack writes an array to a file", _writes)
    add(
        "a stack dumps an array",
        lambda m: _pipeline(*_giving(str(m)), _stack(np.array([b"payload"]), "dump")),
    )
    add(
        "a stacking regressor writes",
        lambda m: _pipeline(
            *_giving(str(m)), _stack(np.array([b"payload"]), "tofile", "StackingRegressor")
        ),
    )
    add(
        "a chain calls a named method",
        lambda m: _pipeline(
            *_giving(str(m)),
            Made(
                "sklearn.multioutput",
                "ClassifierChain",
                estimators_=[np.array([b"payload"])],
                order_=[0],
                estimator=_linear(),
                base_estimator=None,
                chain_method_="tofile",
                classes_=[np.array([0, 1])],
                n_features_in_=7,
                _sklearn_version=sklearn.__version__,
            ),
        ),
    )
    add(
        "a threshold calls a named method",
        lambda m: _pipeline(
            *_giving(str(m)),
            Made(
                "sklearn.model_selection._classification_threshold",
                "FixedThresholdClassifier",
                estimator_=np.array([b"payload"]),
                response_method="tofile",
                threshold="auto",
                pos_label=None,
                estimator=_linear(),
                _sklearn_version=sklearn.__version__,
            ),
        ),
    )
    add(
        "a union writes",
        lambda m: _pipeline(
            *_giving(str(m)),
            Made(
                "sklearn.pipeline",
                "FeatureUnion",
                n_jobs=None,
                transformer_weights=None,
                verbose=False,
                transformer_list=[("a", _stack(np.array([b"payload"]), "tofile"))],
            ),
            _linear(),
        ),
    )
    add(
        "predict is a function that is only held",
        lambda m: _linear(predict=Name("builtins", "str"), predict_proba=Name("builtins", "str")),
    )
    add("predict_proba is a callable object", lambda m: _linear(predict_proba=_ANY_SCORE))
    add("predict is a class", lambda m: _linear(predict=Name("pandas", "DataFrame")))
    add("classes_ that is a model", lambda m: _linear(classes_=_writes(m)))
    add("feature names from a model", lambda m: _linear(feature_names_in_=_writes(m)))
    add("steps that hold no estimators", lambda m: _pipeline("text", _linear()))
    add(
        "a function transformer makes arrays",
        lambda m: _pipeline(_function(Name("numpy", "asarray")), _linear()),
    )
    add(
        "a vectorizer reads a file",
        lambda m: _pipeline(
            *_giving_array(["/etc/passwd"]),
            Made(
                "sklearn.feature_extraction.text",
                "CountVectorizer",
                input="filename",
                encoding="utf-8",
                decode_error="ignore",
                vocabulary_={"root": 0},
                fixed_vocabulary_=True,
                analyzer="word",
                token_pattern=r"\w+",
                ngram_range=(1, 1),
                tokenizer=None,
                preprocessor=None,
                strip_accents=None,
                lowercase=True,
                stop_words=None,
                binary=False,
                dtype=Name("numpy", "int64"),
                _sklearn_version=sklearn.__version__,
            ),
            _linear(),
        ),
    )
    add(
        "a hashing vectorizer reads files",
        lambda m: _pipeline(
            _function(Name("numpy", "array"), dtype=Name("builtins", "str")),
            Made(
                "sklearn.feature_extraction.text",
                "HashingVectorizer",
                input="filename",
                encoding="utf-8",
                decode_error="ignore",
                analyzer="word",
                token_pattern=r"\w+",
                ngram_range=(1, 1),
                tokenizer=None,
                preprocessor=None,
                strip_accents=None,
                lowercase=True,
                stop_words=None,
                n_features=8,
                binary=False,
                norm="l2",
                alternate_sign=True,
                dtype=Name("numpy", "float64"),
                _sklearn_version=sklearn.__version__,
            ),
            _linear(),
        ),
    )
    for argument in ("analyzer", "tokenizer", "preprocessor"):
        add(
            f"{argument} is a callable object",
            lambda m, a=argument: _pipeline(
                Made(
                    "sklearn.feature_extraction.text",
                    "TfidfVectorizer",
                    input="content",
                    **{a: _ANY_SCORE},
                    vocabulary_={"a": 0},
                    _sklearn_version=sklearn.__version__,
                ),
                _linear(),
            ),
        )
    add(
        "importance_getter walks attributes",
        lambda m: _pipeline(
            Made(
                "sklearn.feature_selection._from_model",
                "SelectFromModel",
                importance_getter="predict.__func__.__globals__",
                estimator=_linear(),
                estimator_=_linear(),
                prefit=False,
                threshold=None,
                norm_order=1,
                max_features=None,
                _sklearn_version=sklearn.__version__,
            ),
            _linear(),
        ),
    )
    add(
        "importance_getter is a callable object",
        lambda m: _pipeline(
            Made(
                "sklearn.feature_selection._from_model",
                "SelectFromModel",
                importance_getter=_ANY_SCORE,
                estimator=_writes(m),
                estimator_=_writes(m),
                prefit=False,
                threshold=0.1,
                norm_order=1,
                max_features=None,
                n_features_in_=7,
                _sklearn_version=sklearn.__version__,
            ),
            _linear(),
        ),
    )
    add(
        "a kernel is a callable object",
        lambda m: Made(
            "sklearn.svm._classes",
            "SVC",
            kernel=_ANY_SCORE,
            _BaseLibSVM__Xfit=_writes(m),
            classes_=np.array([0, 1]),
            shape_fit_=(1, 7),
            _sparse=False,
            n_features_in_=7,
            _sklearn_version=sklearn.__version__,
        ),
    )
    add(
        "a Gaussian process asks a stack",
        lambda m: Made(
            "sklearn.gaussian_process._gpr",
            "GaussianProcessRegressor",
            kernel=None,
            kernel_=_ANY_SCORE,
            X_train_=_writes(m),
            alpha_=np.ones(1),
            _sklearn_version=sklearn.__version__,
        ),
    )
    add(
        "a metric is a callable object",
        lambda m: Made(
            "sklearn.neighbors._classification",
            "KNeighborsClassifier",
            metric=_ANY_SCORE,
            effective_metric_=_ANY_SCORE,
            effective_metric_params_={"x": _writes(m)},
            weights=_ANY_SCORE,
            _fit_method="brute",
            _fit_X=np.ones((2, 7)),
            n_neighbors=1,
            n_jobs=None,
            p=2,
            classes_=np.array([0, 1]),
            _y=np.array([0, 1]),
            outputs_2d_=False,
            n_samples_fit_=2,
            n_features_in_=7,
            _tree=None,
            radius=None,
            algorithm="brute",
            _sklearn_version=sklearn.__version__,
        ),
    )
    add(
        "a column transformer's callable columns",
        lambda m: _pipeline(
            Made(
                "sklearn.compose._column_transformer",
                "ColumnTransformer",
                transformers_=[("a", _stack(np.array([b"payload"]), "tofile"), _ANY_SCORE)],
                transformers=[("a", "passthrough", _ANY_SCORE)],
                remainder="drop",
                n_jobs=None,
                sparse_output_=False,
                _n_features=7,
                transformer_weights=None,
                verbose=False,
                _sklearn_version=sklearn.__version__,
            ),
            _linear(),
        ),
    )
    add(
        "a voting classifier of callables",
        lambda m: Made(
            "sklearn.ensemble._voting",
            "VotingClassifier",
            voting="soft",
            weights=None,
            estimators_=[_linear(predict_proba=_ANY_SCORE)],
            estimators=[],
            flatten_transform=True,
            classes_=np.array([0, 1]),
            _sklearn_version=sklearn.__version__,
        ),
    )
    add(
        "a search with a scorer",
        lambda m: Made(
            "sklearn.model_selection._search",
            "GridSearchCV",
            best_estimator_=_writes(m),
            scorer_=_PASS,
            refit=True,
            estimator=_linear(),
            _sklearn_version=sklearn.__version__,
        ),
    )
    add(
        "a pipeline with a cache folder",
        lambda m: Made(
            "sklearn.pipeline",
            "Pipeline",
            memory=str(m),
            verbose=False,
            transform_input=None,
            steps=[("a", _function(None)), ("b", _linear())],
            _sklearn_version=sklearn.__version__,
        ),
    )
    add("_repr_html_ is something else", lambda m: _linear(_repr_html_=_ANY_SCORE))
    add(
        "a frozen estimator",
        lambda m: Made("sklearn.frozen._frozen", "FrozenEstimator", estimator=_writes(m)),
    )
    add(
        "a bunch that looks like a model",
        lambda m: Call(
            Name("copyreg", "_reconstructor"),
            Name("sklearn.utils._bunch", "Bunch"),
            Name("builtins", "dict"),
            {"predict": _ANY_SCORE},
        ),
    )


_add_globals()
_add_names()
_add_hiding_places()
_add_trusted_names()
_add_bombs()
_add_predictions()
