"""Pickles read as what they are, a list of instructions, of which none is carried out.

Python's own unpickler calls whatever a file names. This one calls nothing: it keeps a stack of plain values, and where
the file asks for a class or a function it notes the name (`GlobalName`) and what it was to be given (`ConstructedObject`). Whoever wants a
tensor of it looks at the notes. A name that is not on the list of the caller is refused as soon as it is read.
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
from faceaug.utils.text_table import shown

MOST_STEPS = 2_000_000  # instructions; the largest official networks have about a hundred thousand
KEYS = (str, int, float, bytes, bool, type(None))  # whose hash costs no more than they are long


@dataclass(frozen=True)
class GlobalName:
    """A class or function that a pickle names, for example ``torch.FloatStorage``."""

    text: str


@dataclass(eq=False)
class ConstructedObject:
    """What a pickle would have made: `name` called with `args`; entries, if it is a dict; the state given to it."""

    name: str
    args: tuple[Any, ...]
    items: dict[Any, Any] = field(default_factory=dict)
    state: Any = None


@dataclass(frozen=True, eq=False)
class StoredObject:
    """Something kept outside the pickle, by the key that stands for it."""

    key: Any


class _Mark:
    """Where on the stack a list, tuple or call begins."""


def read_pickle(
    stream: io.BytesIO,
    where: str | Path,
    allowed: Collection[str],
    hint: Callable[[str], str],
    stored: list[StoredObject] | None = None,
) -> Any:
    """Read one pickle from where `stream` stands; nothing that it names is imported or called.

    Parameters
    ----------
    stream
        The bytes; afterwards it stands behind the pickle.
    where
        The file's path, for the errors.
    allowed
        Full names that may occur, as ``"collections.OrderedDict"``.
    hint
        Given a name that may not occur, returns the rest of the sentence that refuses it.
    stored
        Takes up what the pickle refers to outside itself, in order.

    Raises
    ------
    GeneratorError
        When a name is not allowed, or the pickle is damaged or larger than any generator's.
    """
    machine = _Machine(where, allowed, hint, [] if stored is None else stored)
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MOST_STEPS:
                raise GeneratorError(
                    f"{where} holds a pickle of more than {MOST_STEPS} instructions: no generator has so many"
                )
            if operation.name == "STOP":
                return machine.pop()
            machine.step(operation.name, argument)
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
            f"{where} is damaged or no file of a generator: its pickle cannot be read ({shown(error)})"
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

    def step(self, operation: str, argument: Any) -> None:
        """Carry out one instruction, by its name in `pickletools`."""
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

    def drop(self, _: Any) -> None:
        self.stack.pop()

    def drop_to_mark(self, _: Any) -> None:
        self.to_mark()

    def twice(self, _: Any) -> None:
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
            if not isinstance(key, KEYS):
                raise ValueError(f"a {type(key).__name__} as a key")
            if isinstance(key, (int, float)) and not abs(key) <= 2**31:  # chosen well, they all hash to the same
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
        self.memo[index] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def named(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.name(module, name)

    def stack_named(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name that is no text")
        self.name(module, name)

    def name(self, module: str, name: str) -> None:
        text = f"{module}.{name}"
        if text not in self.allowed:
            self.refuse(f"it names {shown(text)}, {self.hint(text)}")
        self.stack.append(GlobalName(text))

    def call(self, _: Any) -> None:
        arguments, what = self.pop(), self.pop()
        if not isinstance(what, GlobalName) or not isinstance(arguments, tuple):
            self.refuse(f"its pickle calls a {type(what).__name__}, which is no name")
        self.stack.append(ConstructedObject(what.text, arguments))

    def call_with_words(self, _: Any) -> None:
        self.pop()  # the arguments that have names: nothing that is read here has any
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
# Sets are lists here: what is in them is never looked up, and never hashed.
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": list,
}  # fmt: skip
_CONSTANT = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_METHODS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": _Machine.mark,
    "POP": _Machine.drop,
    "POP_MARK": _Machine.drop_to_mark,
    "DUP": _Machine.twice,
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
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.stack_named,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "NEWOBJ_EX": _Machine.call_with_words,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.stored,
}


def entries(value: Any) -> dict[Any, Any]:
    """Return the entries of a dict, or of what a pickle would make like one; none of anything else."""
    found = value.items if isinstance(value, ConstructedObject) else value
    return found if isinstance(found, dict) else {}


def meant_to_run(name: str) -> str:
    """Return the end of the sentence that refuses `name`."""
    return "which no generator needs: it may be meant to run code, and nothing of it was run"
