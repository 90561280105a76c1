"""Mutations of messages, by field and by byte. Pure: the same generator, the same bytes."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

Field = Any  # a FieldDescriptor, of one of protobuf's two implementations

NAN = b"\0\0\xc0\x7f"  # FP32
MOST_BYTES = 4096  # that one mutation inserts

TEXTS: tuple[str, ...] = (
    "", "0", "1", "-1", "nan", "any", "first", "soft", "FP32", "FP16", "BF16", "UINT8", "BYTES",
    "INT64", "input", "timeout_ms", "wait", "gain_limit", "recovery_threshold", "allow_partial",
    "source", "\0", "\U0001f600", "a/../../b", "{", "[", "%s%n", "x" * 5000, "f" * 64,
)  # fmt: skip
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_NUMBERS = (0.0, -0.0, 1.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e300, 5e-324)


def mutated(message: Message, rng: random.Random) -> bytes:
    """The bytes of a message with one to three fields changed, and now and then some bytes."""
    changed: Message = type(message)()
    changed.CopyFrom(message)
    for _ in range(rng.randint(1, 3)):
        if fields := list(_fields(changed)):
            _change(*rng.choice(fields), rng)
    data = changed.SerializeToString()
    return spoiled(data, rng) if rng.random() < 0.3 else data


def spoiled(data: bytes, rng: random.Random) -> bytes:
    """Bytes that are flipped, cut, doubled, or had others put between them."""
    spoilt = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(spoilt) + 1)
        end = rng.randint(at, len(spoilt))
        match rng.randrange(5):
            case 0 if at < len(spoilt):
                spoilt[at] ^= 1 << rng.randrange(8)
            case 1:
                del spoilt[at:end]
            case 2:
                spoilt[at:at] = rng.randbytes(rng.randint(1, 16))
            case 3:
                spoilt[at:at] = spoilt[at : min(end, at + MOST_BYTES)]
            case _:
                spoilt[at:end] = rng.randbytes(min(end - at, MOST_BYTES))
    return bytes(spoilt)


def noise(rng: random.Random) -> bytes:
    """Random bytes, and what parsers are known to trip over: depth, lengths, groups, repetition."""
    match rng.randrange(6):
        case 0:
            return b"\x0b" * rng.randint(1, 50_000)  # groups within groups
        case 1:
            return b"\x0a\xff\xff\xff\xff\x07"  # a length of 2 GiB, and nothing behind it
        case 2:
            return b"\x2a\x02\x0a\x00" * rng.randint(1, 5000)  # empty submessages
        case 3:
            return bytes(rng.randint(1, 1000))
        case _:
            return rng.randbytes(rng.randint(0, 1000))


def _fields(message: Message) -> Iterator[tuple[Message, Field]]:
    """Every field of a message and of the messages in it."""
    for field in message.DESCRIPTOR.fields:
        yield message, field
    for field, value in message.ListFields():
        if field.message_type is None or _is_map(field):
            continue
        for inner in value if field.is_repeated else (value,):
            yield from _fields(inner)


def _is_map(field: Field) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def _change(owner: Message, field: Field, rng: random.Random) -> None:
    if _is_map(field):
        _change_map(getattr(owner, field.name), field, rng)
    elif field.is_repeated:
        _change_list(owner, field, rng)
    elif field.message_type is not None:
        if rng.random() < 0.3:
            owner.ClearField(field.name)
        else:
            inner = getattr(owner, field.name)
            inner.SetInParent()
            _fill(inner, rng)
    else:
        setattr(owner, field.name, _value(field, rng))


def _change_list(owner: Message, field: Field, rng: random.Random) -> None:
    values = getattr(owner, field.name)
    match rng.randrange(6):
        case 0:
            owner.ClearField(field.name)
        case 1 if len(values):
            del values[rng.randrange(len(values))]
        case 2 if len(values) and isinstance(values[0], bytes):  # of the right length, for once
            values[0] = (NAN * len(values[0]))[: len(values[0])]
        case 3 if len(values):
            values.extend(list(values) * rng.choice((1, 1, 1, 30)))
        case _:
            for _ in range(rng.choice((1, 1, 1, 2, 40))):
                if field.message_type is not None:
                    _fill(values.add(), rng)
                else:
                    values.append(_value(field, rng))


def _change_map(entries: Any, field: Field, rng: random.Random) -> None:
    key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    for _ in range(rng.choice((1, 1, 2, 300))):
        name = _value(key, rng) if rng.random() < 0.8 else str(rng.random())
        if value.message_type is None:
            entries[name] = _value(value, rng)
        else:
            _fill(entries[name], rng)


def _fill(message: Message, rng: random.Random) -> None:
    fields: list[Field] = list(message.DESCRIPTOR.fields)
    for field in rng.sample(fields, min(len(fields), rng.randint(0, 3))):
        if field.message_type is None and not field.is_repeated:
            setattr(message, field.name, _value(field, rng))


def _value(field: Field, rng: random.Random) -> Any:
    kind = field.cpp_type
    if kind in _INTEGERS:
        low, high = _INTEGERS[kind]
        small = rng.randint(max(low, -3), 70)
        return rng.choice((low, high, 0, 1, small, rng.randint(low, high)))
    made: dict[int, Callable[[], Any]] = {
        FieldDescriptor.CPPTYPE_DOUBLE: lambda: rng.choice(_NUMBERS),
        FieldDescriptor.CPPTYPE_FLOAT: lambda: rng.choice(_NUMBERS[:-2]),
        FieldDescriptor.CPPTYPE_BOOL: lambda: rng.random() < 0.5,
        FieldDescriptor.CPPTYPE_ENUM: lambda: rng.choice((0, 1, 7)),
    }
    if kind in made:
        return made[kind]()
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.choice((b"", NAN * 4, rng.randbytes(rng.randint(1, 300))))
    return rng.choice(TEXTS)
