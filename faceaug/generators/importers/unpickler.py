"""Pickles read as a list of instructions, of which none is executed.

Python's own unpickler calls whatever a file names. This reader calls nothing. It keeps a stack of plain values; where
the file names a class or a function it records the name (`GlobalName`) and the arguments (`ConstructedObject`), from
which tensors are read later. A name that the caller does not allow is refused as soon as it is read.
"""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from faceaug.errors import GeneratorError
from faceaug.utils.text import printable

MAX_INSTRUCTIONS = 2_000_000  # the largest official networks have about a hundred thousand
KEY_TYPES = (str, int, float, bytes, bool, type(None))  # hashing them takes time linear in their length


@dataclass(frozen=True)
class GlobalName:
    """A class or function that a pickle names, for example ``torch.FloatStorage``."""

    text: str


@dataclass(eq=False)
class ConstructedObject:
    """An object that a pickle constructs: `name` called with `args`, its entries if it is a dict, and its state."""

    name: str
    args: tuple[Any, ...]
    items: dict[Any, Any] = field(default_factory=dict)
    state: Any = None


@dataclass(frozen=True, eq=False)
class StoredObject:
    """An object that is stored outside the pickle, by its key."""

    key: Any


class _Mark:
    """The start of a list, tuple or call on the stack."""


def read_pickle(
    stream: io.BytesIO,
    where: str | Path,
    allowed: Collection[str],
    hint: Callable[[str], str],
    stored: list[StoredObject] | None = None,
    max_instructions: int = MAX_INSTRUCTIONS,
) -> Any:
    """Read one pickle from the position of `stream`; nothing that it names is imported or called.

    Parameters
    ----------
    stream
        The bytes; afterwards its position is behind the pickle.
    where
        The file's path, for the errors.
    allowed
        Full names that may occur, as ``"collections.OrderedDict"``.
    hint
        Returns, for a name that may not occur, the rest of the sentence that refuses it.
    stored
        Receives the objects outside the pickle that it refers to, in order.
    max_instructions
        Number of instructions from which on a pickle is refused.

    Raises
    ------
    GeneratorError
        When a name is not allowed, or the pickle is damaged or larger than any generator's.
    """
    machine = _Machine(where, allowed, hint, [] if stored is None else stored)
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
            if count > max_instructions:
                raise GeneratorError(
                    f"{where} holds a pickle of more than {max_instructions} instructions: no generator has so many"
                )
            if operation.name == "STOP":
                return machine.pop()
            machine.interpret(operation.name, argument)
    except GeneratorError:
        raise
    except (
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        OverflowError,
        EOFError,
        AttributeError,
        struct.error,
    ) as error:
        raise GeneratorError(
            f"{where} is damaged or no file of a generator: its pickle cannot be read ({printable(error)})"
        ) from error
    raise GeneratorError(f"{where} is truncated: its pickle has no end; get the file again")


class _Machine:
    """Stack and memo; a method for each group of instructions."""

    def __init__(
        self, where: str | Path, allowed: Collection[str], hint: Callable[[str], str], outside: list[StoredObject]
    ) -> None:
        self.where, self.allowed, self.hint, self.outside = where, allowed, hint, outside
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def interpret(self, operation: str, argument: Any) -> None:
        """Interpret one instruction, by its name in `pickletools`."""
        if operation in _PUSHED:
            self.stack.append(argument)
        elif operation in _EMPTY:
            self.stack.append(_EMPTY[operation]())
        elif operation in _CONSTANT:
            self.stack.append(_CONSTANT[operation])
        else:
            method = _METHODS.get(operation)
            if method is None:
                self.refuse(f"its pickle uses {operation}, which no generator needs")
            method(self, argument)

    def refuse(self, why: str) -> NoReturn:
        raise GeneratorError(f"{self.where} is refused: {why}")

    def pop(self) -> Any:
        value = self.stack.pop()
        if isinstance(value, _Mark):
            raise ValueError("a mark where a value is expected")
        return value

    def to_mark(self) -> list[Any]:
        """Take everything above the topmost mark, and the mark, from the stack."""
        above: list[Any] = []
        while not isinstance(value := self.stack.pop(), _Mark):
            above.append(value)
        return above[::-1]

    def mark(self, _: Any) -> None:
        self.stack.append(_Mark())

    def discard(self, _: Any) -> None:
        self.stack.pop()

    def discard_to_mark(self, _: Any) -> None:
        self.to_mark()

    def duplicate(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def tuple_of(self, count: int) -> None:
        values = tuple(self.pop() for _ in range(count))
        self.stack.append(values[::-1])

    def append(self, _: Any) -> None:
        value = self.pop()
        self.extend(self.stack[-1], [value])

    def appends(self, _: Any) -> None:
        values = self.to_mark()
        self.extend(self.stack[-1], values)

    def extend(self, target: Any, values: list[Any]) -> None:
        if not isinstance(target, list):
            raise ValueError(f"entries for a {type(target).__name__}")
        target.extend(values)

    def set_item(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self.fill(self.stack[-1], [key, value])

    def set_items(self, _: Any) -> None:
        values = self.to_mark()
        self.fill(self.stack[-1], values)

    def fill(self, target: Any, values: list[Any]) -> None:
        entries = target.items if isinstance(target, ConstructedObject) else target
        if not isinstance(entries, dict) or len(values) % 2:
            raise ValueError(f"entries for a {type(target).__name__}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, KEY_TYPES):
                raise ValueError(f"a {type(key).__name__} as a key")
            if (
                isinstance(key, (int, float)) and not abs(key) <= 2**31
            ):  # such keys can be chosen to collide in the hash table
                raise ValueError("a number beyond 2^31 as a key")
            entries[key] = value

    def dict_of(self, _: Any) -> None:
        values = self.to_mark()
        self.stack.append({})
        self.fill(self.stack[-1], values)

    def list_of(self, _: Any) -> None:
        self.stack.append(self.to_mark())

    def tuple_to_mark(self, _: Any) -> None:
        self.stack.append(tuple(self.to_mark()))

    def put(self, index: int) -> None:
        if not 0 <= index < 2**32:  # indices beyond can be chosen to collide in the hash table
            raise ValueError("an entry of the memo beyond 2^32")
        self.memo[index] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def global_name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.push_name(module, name)

    def stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name that is no text")
        self.push_name(module, name)

    def push_name(self, module: str, name: str) -> None:
        text = f"{module}.{name}"
        if text not in self.allowed:
            self.refuse(f"it names {printable(text)}, {self.hint(text)}")
        self.stack.append(GlobalName(text))

    def call(self, _: Any) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, GlobalName) or not isinstance(arguments, tuple):
            self.refuse(f"its pickle calls a {type(function).__name__}, which is no name")
        self.stack.append(ConstructedObject(function.text, arguments))

    def call_with_keywords(self, _: Any) -> None:
        self.pop()  # keyword arguments, which no object that is read here has
        self.call(None)

    def build(self, _: Any) -> None:
        state = self.pop()
        target = self.stack[-1]
        if not isinstance(target, ConstructedObject):
            raise ValueError(f"a state for a {type(target).__name__}")
        target.state = state

    def stored(self, _: Any) -> None:
        self.outside.append(StoredObject(self.pop()))
        self.stack.append(self.outside[-1])


_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = (
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
_PUSHED = frozenset({*_NUMBERS, *_TEXTS})
# Sets are lists here: their elements are never looked up, and never hashed.
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
}
_CONSTANT = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_METHODS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": _Machine.mark,
    "POP": _Machine.discard,
    "POP_MARK": _Machine.discard_to_mark,
    "DUP": _Machine.duplicate,
    "TUPLE": _Machine.tuple_to_mark,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": _Machine.list_of,
    "FROZENSET": _Machine.list_of,
    "DICT": _Machine.dict_of,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "ADDITEMS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.global_name,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "NEWOBJ_EX": _Machine.call_with_keywords,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.stored,
}


def dict_entries(value: Any) -> dict[Any, Any]:
    """Return the entries of a dict or of a constructed dict, and no entries of anything else."""
    items = value.items if isinstance(value, ConstructedObject) else value
    return items if isinstance(items, dict) else {}


def refusal_reason(name: str) -> str:
    """Return the end of the sentence that refuses `name`."""
    return "which no generator needs: it may be meant to run code, and nothing of it was run"
