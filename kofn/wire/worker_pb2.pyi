from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tensor(_message.Message):
    __slots__ = ("datatype", "shape", "data")
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("id", "program", "inputs", "deadline_ms", "seed", "traceparent", "batch")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    id: int
    program: str
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    deadline_ms: int
    seed: int
    traceparent: str
    batch: int
    def __init__(self, id: _Optional[int] = ..., program: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., deadline_ms: _Optional[int] = ..., seed: _Optional[int] = ..., traceparent: _Optional[str] = ..., batch: _Optional[int] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, ids: _Optional[_Iterable[int]] = ...) -> None: ...

class ToWorker(_message.Message):
    __slots__ = ("task", "cancel")
    TASK_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    task: Task
    cancel: Cancel
    def __init__(self, task: _Optional[_Union[Task, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("id", "code", "reason", "outputs", "queue_us", "compute_us", "queue_depth", "busy_us", "program")
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_US_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    BUSY_US_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    id: int
    code: int
    reason: str
    outputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    queue_us: int
    compute_us: int
    queue_depth: int
    busy_us: int
    program: str
    def __init__(self, id: _Optional[int] = ..., code: _Optional[int] = ..., reason: _Optional[str] = ..., outputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., queue_us: _Optional[int] = ..., compute_us: _Optional[int] = ..., queue_depth: _Optional[int] = ..., busy_us: _Optional[int] = ..., program: _Optional[str] = ...) -> None: ...

class Released(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, ids: _Optional[_Iterable[int]] = ...) -> None: ...

class Greeting(_message.Message):
    __slots__ = ("worker", "device", "programs", "process_id", "version")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PROGRAMS_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    worker: str
    device: str
    programs: _containers.RepeatedScalarFieldContainer[str]
    process_id: int
    version: str
    def __init__(self, worker: _Optional[str] = ..., device: _Optional[str] = ..., programs: _Optional[_Iterable[str]] = ..., process_id: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class Draining(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FaultsInForce(_message.Message):
    __slots__ = ("kinds",)
    KINDS_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kinds: _Optional[_Iterable[str]] = ...) -> None: ...

class FromWorker(_message.Message):
    __slots__ = ("greeting", "result", "draining", "faults", "released")
    GREETING_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    greeting: Greeting
    result: Result
    draining: Draining
    faults: FaultsInForce
    released: Released
    def __init__(self, greeting: _Optional[_Union[Greeting, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., draining: _Optional[_Union[Draining, _Mapping]] = ..., faults: _Optional[_Union[FaultsInForce, _Mapping]] = ..., released: _Optional[_Union[Released, _Mapping]] = ...) -> None: ...

class ProgramChunk(_message.Message):
    __slots__ = ("program", "data", "signature")
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    program: str
    data: bytes
    signature: bytes
    def __init__(self, program: _Optional[str] = ..., data: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class PushProgramReply(_message.Message):
    __slots__ = ("program",)
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    program: str
    def __init__(self, program: _Optional[str] = ...) -> None: ...

class SetFaultsRequest(_message.Message):
    __slots__ = ("faults_json",)
    FAULTS_JSON_FIELD_NUMBER: _ClassVar[int]
    faults_json: str
    def __init__(self, faults_json: _Optional[str] = ...) -> None: ...

class GetFaultsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Faults(_message.Message):
    __slots__ = ("worker", "faults_json")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    FAULTS_JSON_FIELD_NUMBER: _ClassVar[int]
    worker: str
    faults_json: str
    def __init__(self, worker: _Optional[str] = ..., faults_json: _Optional[str] = ...) -> None: ...
