"""A restricted pickle interpreter: nothing that a file names is ever imported or called.

Python's own Unpickler imports names and calls them, `find_class` or not. This one knows the opcodes
that published checkpoints are made of. A global is a row of the caller's fixed table
or an error, and what a table's functions return is all that REDUCE, NEWOBJ and BUILD can make.
Bytes stay views of the file, so that gigabytes of weights are not copied.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.core.errors import HarnessError

_NAMES = {op.code: op.name for op in pickletools.opcodes}
_MAX_STRING = 16 << 20


class Refused(HarnessError):
    """The reason why a file is not read; the message does not name the file."""


class Budget:
    """A limit on the work that a file can cause, however often it refers to a value."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def spend(self, steps: int = 1) -> None:
        self._left -= steps
        if self._left < 0:
            raise Refused("it holds far more objects than any published checkpoint")


@dataclass(frozen=True, eq=False)
class Symbol:
    """A global that files may name, with the functions in place of its call and its `__new__`."""

    name: str
    call: Callable[[tuple[Any, ...]], Any] | None = None
    new: Callable[[], Any] | None = None


class Buildable:
    """A stand-in object whose state BUILD sets."""

    def build(self, state: Any) -> None:
        """Set the state; raises Refused for one that does not fit."""
        raise NotImplementedError


Symbols = Mapping[tuple[str, str], Symbol]
"""The table of globals, by (module, qualified name)."""


def show(value: object) -> str:
    """A short repr for a message: one line, no control characters."""
    text = repr(value) if isinstance(value, (str, int, float, bool)) else type(value).__name__
    return text if len(text) <= 120 else f"{text[:117]}..."


class Machine:
    """Interprets the pickles in `data`, one after another; the next begins at `position`."""

    def __init__(
        self,
        data: memoryview,
        symbols: Symbols,
        budget: Budget,
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self.data, self.position = data, 0
        self._symbols, self._budget, self._persistent = symbols, budget, persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The next pickle's value. Raises Refused for all that is not plain data."""
        self._stack, self._marks, self._memo = [], [], {}
        if self.data[self.position : self.position + 1] != b"\x80":
            raise Refused("it is not a pickle of protocol 2 or later")
        while True:
            self._budget.spend()
            code = self.take(1)[0]
            if code == ord("."):
                break
            step = _STEPS.get(code)
            if step is None:
                name = _NAMES.get(chr(code))
                raise Refused(
                    f"the opcode {name} is in no published checkpoint"
                    if name
                    else f"it is damaged: byte {code:#04x} is no pickle opcode"
                )
            step(self)
        if len(self._stack) != 1 or self._marks:
            raise Refused("it is damaged: the pickle ends in the middle of a value")
        return self._stack.pop()

    def take(self, count: int) -> memoryview:
        """The next `count` bytes."""
        end = self.position + count
        if end > len(self.data):
            raise Refused("it is truncated or damaged: it ends in the middle of a value")
        view = self.data[self.position : end]
        self.position = end
        return view

    # What opcodes do, in the order of the tables below.

    def _unpack(self, layout: str) -> int:
        value: int = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return value

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise Refused("it is damaged: an opcode finds too little on the stack")
        return self._stack.pop()

    def _pop_mark(self) -> list[Any]:
        if not self._marks:
            raise Refused("it is damaged: an opcode finds no mark on the stack")
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _pop_tuple(self) -> tuple[Any, ...]:
        arguments = self._pop()
        if not isinstance(arguments, tuple):
            raise Refused(f"it is damaged: arguments are a {show(arguments)}")
        return arguments

    def _protocol(self) -> None:
        version = self._unpack("<B")
        if not 2 <= version <= 5:
            raise Refused(f"it is a pickle of protocol {version}: 2 to 5 can be read")

    def _frame(self) -> None:
        if self._unpack("<Q") > len(self.data) - self.position:
            raise Refused("it is truncated or damaged: a frame is longer than what is left")

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _text(self, layout: str) -> None:
        size = self._unpack(layout)
        if size > _MAX_STRING:
            raise Refused(f"it is damaged: a text of {size} bytes")
        self._budget.spend(size // 64)
        try:
            self._push(str(self.take(size), "utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            raise Refused("it is damaged: a text is not UTF-8") from None

    def _bytes(self, layout: str) -> None:
        self._push(self.take(self._unpack(layout)))

    def _long(self) -> None:
        self._push(int.from_bytes(self.take(self._unpack("<B")), "little", signed=True))

    def _tuple(self, count: int) -> None:
        self._push(tuple([self._pop() for _ in range(count)][::-1]))

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is not list:
            raise Refused(f"it is damaged: an append to a {show(target)}")
        target.extend(values)

    def _top(self) -> Any:
        value = self._pop()
        self._push(value)
        return value

    def _set_items(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is not dict or len(values) % 2:
            raise Refused(f"it is damaged: items are set in a {show(target)}")
        target.update(zip(map(key, values[::2]), values[1::2], strict=True))

    def _add_items(self) -> None:
        values = self._pop_mark()
        target = self._top()
        if type(target) is not set:
            raise Refused(f"it is damaged: items are added to a {show(target)}")
        target.update(map(key, values))

    def _put(self, index: int) -> None:
        self._memo[index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise Refused("it is damaged: it refers to a value that is not there")
        self._push(self._memo[index])

    def _symbol(self, module: object, name: object) -> None:
        symbol = None
        if isinstance(module, str) and isinstance(name, str):
            symbol = self._symbols.get((module, name))
        if symbol is None:
            raise Refused(
                f"it names {show(f'{module}.{name}')}, which no published checkpoint needs, "
                "and nothing in it was executed"
            )
        self._push(symbol)

    def _global(self) -> None:
        words = []
        for _ in range(2):
            rest = bytes(self.data[self.position : self.position + 1000])
            word, newline, _ = rest.partition(b"\n")
            if not newline:
                raise Refused("it is damaged: the name of a global has no end")
            self.take(len(word) + 1)
            words.append(word.decode("utf-8", "replace"))
        self._symbol(*words)

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._symbol(module, name)

    def _reduce(self) -> None:
        arguments, callee = self._pop_tuple(), self._pop()
        if not isinstance(callee, Symbol) or callee.call is None:
            what = callee.name if isinstance(callee, Symbol) else f"a {show(callee)}"
            raise Refused(f"it calls {what}, and nothing in it was executed")
        self._push(callee.call(arguments))

    def _new_object(self) -> None:
        arguments, kind = self._pop_tuple(), self._pop()
        if not isinstance(kind, Symbol) or kind.new is None or arguments:
            what = kind.name if isinstance(kind, Symbol) else f"a {show(kind)}"
            raise Refused(f"it makes an instance of {what}, and nothing in it was executed")
        self._push(kind.new())

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Buildable):
            target.build(state)
        elif type(target) is not dict or type(state) is not dict:
            # attributes of a dict (a state_dict's _metadata) mean nothing here and are dropped
            raise Refused(f"it sets the state of a {show(target)}, and nothing in it was executed")

    def _persistent_id(self) -> None:
        reference = self._pop()
        if self._persistent is None:
            raise Refused("it refers to data outside of itself (a persistent id)")
        self._push(self._persistent(reference))


def key(value: object) -> str | int:
    """A dict's key or a set's member: a text or a number, nothing that is slow to hash."""
    if isinstance(value, str) or (isinstance(value, int) and abs(value) < 1 << 63):
        return value
    raise Refused(f"it is damaged: {show(value)} as the key of a dict")


_STEPS: dict[int, Callable[[Machine], None]] = {
    0x80: Machine._protocol,
    0x95: Machine._frame,
    ord("("): Machine._mark,
    ord("N"): lambda m: m._push(None),
    0x88: lambda m: m._push(True),
    0x89: lambda m: m._push(False),
    ord("J"): lambda m: m._push(m._unpack("<i")),
    ord("K"): lambda m: m._push(m._unpack("<B")),
    ord("M"): lambda m: m._push(m._unpack("<H")),
    0x8A: Machine._long,
    ord("G"): lambda m: m._push(m._unpack(">d")),
    0x8C: lambda m: m._text("<B"),
    ord("X"): lambda m: m._text("<I"),
    0x8D: lambda m: m._text("<Q"),
    ord("C"): lambda m: m._bytes("<B"),
    ord("B"): lambda m: m._bytes("<I"),
    0x8E: lambda m: m._bytes("<Q"),
    ord(")"): lambda m: m._push(()),
    0x85: lambda m: m._tuple(1),
    0x86: lambda m: m._tuple(2),
    0x87: lambda m: m._tuple(3),
    ord("t"): lambda m: m._push(tuple(m._pop_mark())),
    ord("]"): lambda m: m._push([]),
    ord("a"): lambda m: m._extend([m._pop()]),
    ord("e"): lambda m: m._extend(m._pop_mark()),
    ord("}"): lambda m: m._push({}),
    ord("s"): lambda m: m._set_items([m._pop(), m._pop()][::-1]),
    ord("u"): lambda m: m._set_items(m._pop_mark()),
    0x8F: lambda m: m._push(set()),
    0x90: Machine._add_items,
    0x94: lambda m: m._put(len(m._memo)),
    ord("q"): lambda m: m._put(m._unpack("<B")),
    ord("r"): lambda m: m._put(m._unpack("<I")),
    ord("h"): lambda m: m._get(m._unpack("<B")),
    ord("j"): lambda m: m._get(m._unpack("<I")),
    ord("c"): Machine._global,
    0x93: Machine._stack_global,
    ord("R"): Machine._reduce,
    0x81: Machine._new_object,
    ord("b"): Machine._build,
    ord("Q"): Machine._persistent_id,
}
