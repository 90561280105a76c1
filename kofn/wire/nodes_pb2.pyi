from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Values(_message.Message):
    __slots__ = ("datatype", "rows", "columns", "data")
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    datatype: str
    rows: int
    columns: int
    data: bytes
    def __init__(self, datatype: _Optional[str] = ..., rows: _Optional[int] = ..., columns: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class ResultRequest(_message.Message):
    __slots__ = ("step", "phase", "layer", "part", "attempt")
    STEP_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    step: int
    phase: str
    layer: int
    part: str
    attempt: int
    def __init__(self, step: _Optional[int] = ..., phase: _Optional[str] = ..., layer: _Optional[int] = ..., part: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class StandingRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StandingReply(_message.Message):
    __slots__ = ("step", "checkpoints", "oldest")
    STEP_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    step: int
    checkpoints: _containers.RepeatedScalarFieldContainer[int]
    oldest: int
    def __init__(self, step: _Optional[int] = ..., checkpoints: _Optional[_Iterable[int]] = ..., oldest: _Optional[int] = ...) -> None: ...

class FactorsRequest(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    def __init__(self, step: _Optional[int] = ...) -> None: ...

class FactorsReply(_message.Message):
    __slots__ = ("activations", "signals")
    ACTIVATIONS_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    activations: _containers.RepeatedCompositeFieldContainer[Values]
    signals: _containers.RepeatedCompositeFieldContainer[Values]
    def __init__(self, activations: _Optional[_Iterable[_Union[Values, _Mapping]]] = ..., signals: _Optional[_Iterable[_Union[Values, _Mapping]]] = ...) -> None: ...

class StripsRequest(_message.Message):
    __slots__ = ("layer", "part", "checkpoint")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    layer: int
    part: str
    checkpoint: int
    def __init__(self, layer: _Optional[int] = ..., part: _Optional[str] = ..., checkpoint: _Optional[int] = ...) -> None: ...
