"""Files that want to run something, or to exhaust or crash their reader.

`LIVE` ones do run under Python's own unpickler, which the tests verify; all of them touch the file
`canary` if they get their way. Written opcode by opcode: see Python's pickletools.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import torch

from tests.models import published

START, STOP = b"\x80\x04", b"."
EXTENSION = 240


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def raw(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def number(value: int | float) -> bytes:
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def items(*parts: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(parts) + b"t"


def table(**parts: bytes) -> bytes:
    """A dict."""
    return b"}(" + b"".join(text(name) + part for name, part in parts.items()) + b"u"


def symbol(name: str) -> bytes:
    module, _, last = name.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def stack_symbol(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def call(callee: bytes, *arguments: bytes) -> bytes:
    return callee + items(*arguments) + b"R"


def touch(canary: str) -> str:
    return f"touch {canary}"


def opened(canary: str) -> str:
    return f"open({canary!r}, 'w')"


def run(canary: str) -> bytes:
    return call(symbol("os.system"), text(touch(canary)))


def loaded(data: bytes) -> bytes:
    """A nested stream of torch.save, as bytes on the stack."""
    return call(symbol("torch.storage._load_from_bytes"), data)


MODULE_DICT = symbol("torch.nn.modules.container.ModuleDict") + b")\x81"


def program(body: bytes) -> bytes:
    return START + body + STOP


def _subprocess(canary: str) -> bytes:
    return b"](" + text("touch") + text(canary) + b"e"


LIVE: dict[str, tuple[Callable[[str], bytes], str]] = {
    "REDUCE of a GLOBAL": (lambda c: run(c), "os.system"),
    "REDUCE of a STACK_GLOBAL": (
        lambda c: call(stack_symbol("posix", "system"), text(touch(c))),
        "posix.system",
    ),
    "INST": (lambda c: b"(" + text(touch(c)) + b"ios\nsystem\n", "INST"),
    "OBJ": (lambda c: b"(" + symbol("subprocess.Popen") + _subprocess(c) + b"o", "Popen"),
    "NEWOBJ then BUILD": (
        lambda c: symbol("zipfile.ZipFile") + b")\x81" + run(c) + b"b",
        "zipfile.ZipFile",
    ),
    "NEWOBJ_EX": (
        lambda c: symbol("collections.OrderedDict") + b")}\x92" + run(c) + b"b",
        "NEWOBJ_EX",
    ),
    "EXT1": (lambda c: b"\x82" + bytes([EXTENSION]) + items(text(touch(c))) + b"R", "EXT1"),
    "EXT2": (
        lambda c: b"\x83" + struct.pack("<H", EXTENSION) + items(text(touch(c))) + b"R",
        "EXT2",
    ),
    "EXT4": (
        lambda c: b"\x84" + struct.pack("<i", EXTENSION) + items(text(touch(c))) + b"R",
        "EXT4",
    ),
    "eval": (lambda c: call(symbol("builtins.eval"), text(opened(c))), "builtins.eval"),
    "exec under its old name": (
        lambda c: b"\x80\x02" + call(symbol("__builtin__.exec"), text(opened(c))),
        "__builtin__.exec",
    ),
    "getattr of an import": (
        lambda c: call(
            call(
                symbol("builtins.getattr"),
                call(symbol("builtins.__import__"), text("os")),
                text("system"),
            ),
            text(touch(c)),
        ),
        "builtins.getattr",
    ),
    "operator.attrgetter": (
        lambda c: call(
            call(
                call(symbol("operator.attrgetter"), text("system")),
                call(symbol("importlib.import_module"), text("os")),
            ),
            text(touch(c)),
        ),
        "operator.attrgetter",
    ),
    "a dotted name in a module of the table": (
        lambda c: (
            call(stack_symbol("torch._utils", "sys.modules.__class__.__subclasses__"))
            + b"0"
            + call(stack_symbol("torch.serialization", "os.system"), text(touch(c)))
        ),
        "torch._utils.sys.modules",
    ),
    "a dotted name on a row of the table": (
        lambda c: stack_symbol("collections", "OrderedDict.__init__.__class__") + b"0" + run(c),
        "collections.OrderedDict.__init__",
    ),
    "functools.partial": (
        lambda c: call(call(symbol("functools.partial"), symbol("os.system"), text(touch(c)))),
        "functools.partial",
    ),
    "runpy": (
        lambda c: call(symbol("runpy._run_code"), text(opened(c)), b"}"),
        "runpy._run_code",
    ),
    "timeit": (
        lambda c: call(
            symbol("timeit.timeit"), text(opened(c)), text("0"), symbol("time.time"), b"K\x01"
        ),
        "timeit",
    ),
    "pickle in a pickle": (
        lambda c: call(symbol("pickle.loads"), raw(program(run(c)))),
        "pickle.loads",
    ),
    "a stream that torch loads": (
        lambda c: loaded(raw(stream(run(c)))),
        "os.system",
    ),
    "torch.load": (
        lambda c: call(
            symbol("torch.serialization._legacy_load"),
            call(symbol("_io.BytesIO"), raw(stream(run(c)))),
            b"N",
            symbol("torch.serialization.pickle"),
        ),
        "torch.serialization._legacy_load",
    ),
    "a stream's system information": (
        lambda c: loaded(
            raw(stream(storage_id(), system=run(c))),
        ),
        "os.system",
    ),
    "a stream's keys": (
        lambda c: loaded(
            raw(stream(storage_id(), keys=run(c))),
        ),
        "os.system",
    ),
    "an argument of a call in the table": (
        lambda c: (
            call(symbol("collections.OrderedDict"), b"]")
            + b"0"
            + call(symbol("torch._utils._rebuild_parameter"), b"N", b"\x89", run(c))
        ),
        "POP",
    ),
}


def storage_id(
    kind: str = "torch.FloatStorage", numel: bytes = b"K\x04", view: bytes = b"N"
) -> bytes:
    """The persistent id of a storage, as a persistent load."""
    return items(text("storage"), symbol(kind), text("0"), text("cpu"), numel, view) + b"Q"


def stream(
    body: bytes,
    *,
    system: bytes | None = None,
    keys: bytes | None = None,
    data: bytes | None = None,
) -> bytes:
    """torch.save's old form around a body."""
    little = table(protocol_version=b"M\xe9\x03", little_endian=b"\x88", type_sizes=b"}")
    parts = [
        b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19",
        b"M\xe9\x03",
        little if system is None else system,
        body,
        b"](" + text("0") + b"e" if keys is None else keys,
    ]
    floats = struct.pack("<q", 4) + bytes(16)
    return b"".join(b"\x80\x02" + part + b"." for part in parts) + (
        floats if data is None else data
    )


def storage(
    numel: bytes = b"K\x04", data: bytes | None = None, kind: str = "torch.FloatStorage"
) -> bytes:
    """A storage in the outer pickle."""
    return loaded(
        raw(stream(storage_id(kind, numel), data=data)),
    )


def tensor(
    offset: bytes = b"K\x00",
    shape: tuple[int | float, ...] = (4,),
    stride: tuple[int | float, ...] = (1,),
    hooks: bytes = b"}",
    held: bytes | None = None,
) -> bytes:
    return call(
        symbol("torch._utils._rebuild_tensor_v2"),
        storage() if held is None else held,
        offset,
        items(*map(number, shape)),
        items(*map(number, stride)),
        b"\x89",
        hooks,
    )


def large(held: bytes) -> bytes:
    return tensor(shape=(4096,), held=held)


def parameter(value: bytes) -> bytes:
    return call(symbol("torch._utils._rebuild_parameter"), value, b"\x89", b"}")


def persistent(
    state: bytes, version: bytes = b"K\x06", name: str = "EDMPrecond", kind: str = "class"
) -> bytes:
    meta = table(
        type=text(kind), version=version, module_src=text("x"), class_name=text(name), state=state
    )
    return call(symbol("torch_utils.persistence._reconstruct_persistent_obj"), meta)


def module(**parts: bytes) -> bytes:
    return persistent(table(**parts))


def checkpoint(network: bytes) -> bytes:
    return table(ema=network)


def with_tensor(value: bytes) -> bytes:
    return checkpoint(module(_parameters=table(weight=parameter(value)), _init_kwargs=b"}"))


def with_kwargs(value: bytes) -> bytes:
    return checkpoint(module(_parameters=table(weight=parameter(tensor())), _init_kwargs=value))


def laughs(levels: int, leaf: bytes) -> bytes:
    """A value of 10^levels leaves, in a few bytes a level: each is ten times the one before."""
    value = leaf + b"q\x00"
    for level in range(levels):
        value = b"](" + value + b"".join(b"h" + bytes([level]) for _ in range(9)) + b"e"
        value += b"q" + bytes([level + 1])
    return value


def modules(depth: int, children: int) -> bytes:
    """Modules in modules, every child of a level the same one."""
    value = module(_parameters=table(weight=parameter(tensor()))) + b"q\x00"
    for level in range(depth):
        same = b"".join(text(f"m{n}") + b"h" + bytes([level]) for n in range(1, children))
        value = (
            module(_modules=b"}(" + text("m0") + value + same + b"u") + b"q" + bytes([level + 1])
        )
    return value


def array(kind: str, order: str, data: bytes, shape: tuple[int, ...] = (1,)) -> bytes:
    """A NumPy array in the init arguments."""
    dtype = call(symbol("numpy.dtype"), text(kind), b"\x89", b"\x88")
    dtype += items(b"K\x03", text(order), b"N", b"N", b"N", number(-1), number(-1), b"K\x00") + b"b"
    made = call(
        symbol("numpy.core.multiarray._reconstruct"),
        symbol("numpy.ndarray"),
        items(b"K\x00"),
        raw(b"b"),
    )
    return made + items(b"K\x01", items(*map(number, shape)), dtype, b"\x89", data) + b"b"


def scalar(data: bytes) -> bytes:
    dtype = call(symbol("numpy.dtype"), text("f8"), b"\x89", b"\x88")
    return call(symbol("numpy._core.multiarray.scalar"), dtype, raw(data))


ITSELF = persistent(b"h\x00")
HUGE = struct.pack("<Q", 1 << 62)
HOSTILE: dict[str, tuple[bytes, str]] = {
    # stand-ins, abused
    "call of a class": (call(symbol("numpy.ndarray"), b"K\x01"), "calls numpy.ndarray"),
    "call of an instance": (call(MODULE_DICT), "calls a Instance"),
    "call of a text": (call(text("system"), text("id")), "calls a 'system'"),
    "instance of a function": (
        symbol("torch._utils._rebuild_parameter") + b")\x81",
        "makes an instance",
    ),
    "instance with arguments": (
        symbol("dnnlib.util.EasyDict") + items(text("x")) + b"\x81",
        "makes an instance",
    ),
    "state for a class": (
        symbol("numpy.ndarray") + table(__reduce__=b"N") + b"b",
        "sets the state of a Symbol",
    ),
    "state for a tensor": (tensor() + table(load=b"N") + b"b", "sets the state of a StoredTensor"),
    "state twice": (MODULE_DICT + b"}b" + b"}b", "state of a ModuleDict"),
    "slots as state": (
        MODULE_DICT + items(b"N", table(__class__=b"N")) + b"b",
        "state of a ModuleDict",
    ),
    "persistent id": (items(text("storage")) + b"Q", "persistent id"),
    "text persistent id": (b"P0\n", "PERSID"),
    "a module's class by persistent id": (
        loaded(raw(stream(items(text("module"), text("os"), text("system"), text("x")) + b"Q"))),
        "not a storage of its own",
    ),
    "another codec": (call(symbol("_codecs.encode"), text("x"), text("zlib")), "_codecs.encode"),
    "numpy's _reconstruct of another class": (
        call(
            symbol("numpy.core.multiarray._reconstruct"),
            symbol("collections.OrderedDict"),
            items(b"K\x00"),
            raw(b"b"),
        ),
        "numpy.core.multiarray._reconstruct",
    ),
    "NumPy objects": (with_kwargs(table(a=array("O8", "|", b"](" + text("x") + b"e"))), "'O8'"),
    "NumPy array without data": (with_kwargs(table(a=array("f8", "<", raw(b"")))), "has 0 bytes"),
    "NumPy array, negative": (
        with_kwargs(table(a=array("f8", "<", raw(bytes(8)), (-1,)))),
        "-1 as a size",
    ),
    "NumPy array, big-endian": (
        with_kwargs(table(a=array("f8", ">", raw(bytes(8))))),
        "little-endian",
    ),
    "NumPy number of three bytes": (with_kwargs(table(a=scalar(bytes(3)))), "multiarray.scalar"),
    "NumPy function by its full name": (
        call(symbol("numpy.testing._private.utils.runstring"), text("x"), b"}"),
        "runstring",
    ),
    "a hook on a tensor": (with_tensor(tensor(hooks=table(hook=b"N"))), "has hooks"),
    "another persistence version": (
        checkpoint(persistent(b"}", version=b"K\x07")),
        "persistence version 7",
    ),
    "another persistent type": (checkpoint(persistent(b"}", kind="module")), "does not take"),
    "a class name that writes on the terminal": (
        checkpoint(persistent(b"}", name="\x1b[2J")),
        "does not take",
    ),
    "a module name that writes on the terminal": (
        checkpoint(module(_modules=b"}(" + text("\x1b[2J\n") + module() + b"u")),
        r"'\\x1b\[2J\\n'",
    ),
    "positional arguments": (
        checkpoint(module(_parameters=table(w=parameter(tensor())), _init_args=items(b"K\x01"))),
        "keyword arguments",
    ),
    "a tensor as an argument": (with_kwargs(table(a=tensor())), "StoredTensor, no plain value"),
    "a module that is a number": (checkpoint(module(_modules=table(model=b"K\x01"))), "no module"),
    "a parameter that is a text": (checkpoint(module(_parameters=table(w=text("x")))), "no tensor"),
    "a table that is a list": (checkpoint(module(_parameters=b"]")), "is a list"),
    # tensors out of bounds
    "offset past the end": (with_tensor(tensor(offset=b"K\x01")), "does not fit"),
    "negative offset": (with_tensor(tensor(offset=number(-1))), "-1 as a size"),
    "stride past the end": (with_tensor(tensor(shape=(2, 2), stride=(4, 1))), "does not fit"),
    "negative stride": (with_tensor(tensor(stride=(-1,))), "-1 as a size"),
    "huge stride": (with_tensor(tensor(shape=(2,), stride=(1 << 61,))), "does not fit"),
    "negative size": (with_tensor(tensor(shape=(-4,))), "-4 as a size"),
    "float size": (with_tensor(tensor(shape=(4.0,))), "4.0 as a size"),
    "expanded to terabytes": (with_tensor(tensor(shape=(1 << 40,), stride=(0,))), "does not fit"),
    "fewer strides than sizes": (with_tensor(tensor(shape=(2, 2), stride=(1,))), "does not fit"),
    "many dimensions": (with_tensor(tensor(shape=(1,) * 99, stride=(1,) * 99)), "99 dimensions"),
    "float count": (with_tensor(tensor(held=storage(number(4.0)))), "4.0 as a size"),
    "negative count": (with_tensor(tensor(held=storage(number(-4)))), "-4 as a size"),
    "another count in the data": (
        with_tensor(tensor(held=storage(data=struct.pack("<q", 5) + bytes(20)))),
        "says that it has 5",
    ),
    "negative count in the data": (
        with_tensor(tensor(held=storage(data=struct.pack("<q", -4)))),
        "says that it has -4",
    ),
    "data shorter than its count": (
        with_tensor(tensor(held=storage(data=struct.pack("<q", 4) + bytes(15)))),
        "middle of a value",
    ),
    "count of exabytes": (with_tensor(tensor(held=storage(number(1 << 60)))), "says that it has 4"),
    "another storage type": (
        with_tensor(tensor(held=storage(kind="torch.QInt8Storage"))),
        "torch.QInt8Storage",
    ),
    "a function as storage type": (
        with_tensor(tensor(held=storage(kind="collections.OrderedDict"))),
        "as the type of a storage",
    ),
    "a storage that is none": (with_tensor(tensor(held=b"}")), "_rebuild_tensor_v2"),
    "a stream that is no storage": (loaded(raw(stream(b"K\x01", keys=b"]"))), "holds a 1"),
    "a nested pickle that is no stream": (loaded(raw(program(b"K\x01"))), "not a stream"),
    "keys of other storages": (
        loaded(raw(stream(storage_id(), keys=b"](" + text("9") + b"e"))),
        "not those that it refers to",
    ),
    "big-endian stream": (
        loaded(raw(stream(storage_id(), system=table(little_endian=b"\x89")))),
        "big-endian",
    ),
    # bombs
    "a billion laughs": (with_kwargs(table(a=laughs(12, text("ha")))), "far more objects"),
    "a billion modules": (checkpoint(modules(12, 10)), "far more objects"),
    "modules within modules": (checkpoint(modules(80, 1)), "nested more than 50 deep"),
    "a module in itself": (
        checkpoint(persistent(b"}q\x00" + text("_modules") + b"}" + text("m") + ITSELF + b"ss")),
        "nested more than 50 deep",
    ),
    "a list in itself": (with_kwargs(table(a=b"]q\x00h\x00a")), "nested more than 50 deep"),
    "lists within lists": (
        with_kwargs(table(a=b"]" * 90_000 + b"a" * 89_999)),
        "nested more than 50 deep",
    ),
    "tuples within tuples": (b")" + b"\x85" * 150_000, "holds a tuple"),
    "a key of tuples within tuples": (b"})" + b"\x85" * 150_000 + b"Ns", "as the key of a dict"),
    "a key that is a huge number": (b"}\x8a\xff" + b"\x7f" * 255 + b"Ns", "as the key of a dict"),
    "millions of lists": (b"]" * 210_000, "far more objects"),
    "one list copied often": (
        b"](" + b"K\x01" * 100_000 + b"eq\x00" + (symbol("builtins.set") + b"h\x00\x85R") * 1000,
        "far more objects",
    ),
    "one storage for many tensors": (
        checkpoint(
            module(
                _parameters=b"}("
                + text("w")
                + parameter(
                    large(
                        storage(b"M\x00\x10", struct.pack("<q", 4096) + bytes(4 * 4096)) + b"q\x00"
                    )
                )
                + b"".join(text(f"w{n}") + parameter(large(b"h\x00")) for n in range(2))
                + b"u",
                _init_kwargs=b"}",
            )
        ),
        "larger than the file",
    ),
    "memo index of gigabytes": (b"Nr\xff\xff\xff\xff", "holds a NoneType"),
    "bytes of exabytes": (b"\x8e" + HUGE, "middle of a value"),
    "text of exabytes": (b"\x8d" + HUGE, "a text of"),
    "a frame of exabytes": (b"\x95" + HUGE + b"N", "a frame is longer"),
    "a number of gigabytes": (b"\x8b\xff\xff\xff\x7f", "LONG4"),
    # damage
    "no such memo": (b"h\x07", "is not there"),
    "no mark": (b"t", "no mark"),
    "empty stack": (b"R", "too little on the stack"),
    "below the mark": (b"N(\x85", "too little on the stack"),
    "two values": (b"NN", "middle of a value"),
    "append to a text": (text("x") + b"Na", "an append to"),
    "items of a text": (text("x") + b"NNs", "items are set"),
    "arguments that are none": (symbol("collections.OrderedDict") + b"NR", "arguments are"),
    "a global of numbers": (b"K\x01K\x02\x93", "names '1.2'"),
    "a global without an end": (b"cos" + b"x" * 2000, "has no end"),
    "a text that is not UTF-8": (b"\x8c\x01\xff", "not UTF-8"),
    "an unknown opcode": (b"\xff", "no pickle opcode"),
    "another pickle within": (b"\x80\x09N", "protocol 9"),
    "not a dict": (b"K\x07", "holds a int"),
    "numbers as keys": (b"}K\x01Ns", "not networks by name"),
}


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def archived(body: bytes, **members: bytes) -> bytes:
    """A torch.save archive around a body."""
    return zipped({"a/data.pkl": program(body), **{f"a/data/{k}": v for k, v in members.items()}})


def zip_id(numel: bytes = b"K\x04", name: str = "s") -> bytes:
    return (
        items(text("storage"), symbol("torch.FloatStorage"), text(name), text("cpu"), numel) + b"Q"
    )


def _moved_member() -> bytes:
    data = bytearray(archived(b"}"))
    place = data.rfind(b"PK\x01\x02") + 42
    data[place : place + 4] = struct.pack("<I", 1 << 20)
    return bytes(data)


def other_files(good: bytes) -> dict[str, tuple[bytes, str]]:
    """Whole files that are no pickle, or no whole one."""
    archive = published.saved({"weight": torch.zeros(4)})
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 225\n"
    return {
        "empty": (b"", "is empty"),
        "web page": (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        "LFS pointer": (lfs, "Git LFS pointer"),
        "gzip": (b"\x1f\x8b\x08" + bytes(50), "gzip"),
        "safetensors": (struct.pack("<Q", 2) + b"{}", "safetensors"),
        "picture": (b"\x89PNG\r\n\x1a\n" + bytes(50), "neither a pickle"),
        "zeros": (bytes(1000), "neither a pickle"),
        "text": (b"weights: none", "neither a pickle"),
        "protocol 0": (b"cos\nsystem\n(S'true'\ntR.", "neither a pickle"),
        "trailing bytes": (good + b"PK", "2 bytes follow"),
        "archive of pictures": (zipped({"1.png": b"x"}), "no data.pkl"),
        "archive, compressed": (
            zipped({"a/data.pkl": bytes(1 << 20)}, zipfile.ZIP_DEFLATED),
            "compressed or encrypted",
        ),
        "archive, truncated": (archive[: len(archive) // 2], "truncated or damaged"),
        "archive, member moved": (_moved_member(), "is not where it says"),
        "archive, payload": (archived(call(symbol("os.system"), text("true"))), "os.system"),
        "archive, storage missing": (archived(table(ema=zip_id())), "'s' is missing"),
        "archive, storage elsewhere": (
            archived(table(ema=zip_id(name="../../etc/passwd"))),
            "is missing",
        ),
        "archive, storage short": (archived(table(ema=zip_id()), s=bytes(15)), "15 bytes of data"),
        "archive, storage of two sizes": (
            archived(items(zip_id(), zip_id(b"K\x03")), s=bytes(16)),
            "two types or sizes",
        ),
        "archive, strange id": (archived(items(text("os"), text("system")) + b"Q"), "of its own"),
        "archive, two pickles": (zipped({"a/data.pkl": b"", "b/data.pkl": b""}), "no data.pkl"),
        "archive, big-endian": (
            zipped({"a/data.pkl": program(b"}"), "a/byteorder": b"big"}),
            "big-endian",
        ),
    }


def any_program(name: str, canary: str) -> tuple[bytes, str]:
    """A hostile pickle of either table, and the words of its refusal."""
    entry: Any = LIVE.get(name) or HOSTILE[name]
    body, words = entry
    return program(body(canary) if callable(body) else body), words
