from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Part(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VALUE: _ClassVar[Part]
    MOMENTUM: _ClassVar[Part]
VALUE: Part
MOMENTUM: Part

class MatrixHead(_message.Message):
    __slots__ = ("datatype", "rows", "columns")
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    datatype: str
    rows: int
    columns: int
    def __init__(self, datatype: _Optional[str] = ..., rows: _Optional[int] = ..., columns: _Optional[int] = ...) -> None: ...

class MatrixMessage(_message.Message):
    __slots__ = ("answer", "data")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    answer: MatrixAnswer
    data: bytes
    def __init__(self, answer: _Optional[_Union[MatrixAnswer, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class MatrixAnswer(_message.Message):
    __slots__ = ("head", "queue_us", "compute_us", "kept")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_US_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    head: MatrixHead
    queue_us: int
    compute_us: int
    kept: bool
    def __init__(self, head: _Optional[_Union[MatrixHead, _Mapping]] = ..., queue_us: _Optional[int] = ..., compute_us: _Optional[int] = ..., kept: _Optional[bool] = ...) -> None: ...

class MatrixRef(_message.Message):
    __slots__ = ("name", "version", "part")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    part: Part
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., part: _Optional[_Union[Part, str]] = ...) -> None: ...

class PutMessage(_message.Message):
    __slots__ = ("put", "data")
    PUT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    put: PutMatrix
    data: bytes
    def __init__(self, put: _Optional[_Union[PutMatrix, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PutMatrix(_message.Message):
    __slots__ = ("matrix", "head")
    MATRIX_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    matrix: MatrixRef
    head: MatrixHead
    def __init__(self, matrix: _Optional[_Union[MatrixRef, _Mapping]] = ..., head: _Optional[_Union[MatrixHead, _Mapping]] = ...) -> None: ...

class HeldMatrix(_message.Message):
    __slots__ = ("name", "version", "staged", "head", "has_momentum", "bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STAGED_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    HAS_MOMENTUM_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    staged: bool
    head: MatrixHead
    has_momentum: bool
    bytes: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., staged: _Optional[bool] = ..., head: _Optional[_Union[MatrixHead, _Mapping]] = ..., has_momentum: _Optional[bool] = ..., bytes: _Optional[int] = ...) -> None: ...

class GetMatrixRequest(_message.Message):
    __slots__ = ("matrix", "seed")
    MATRIX_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    matrix: MatrixRef
    seed: int
    def __init__(self, matrix: _Optional[_Union[MatrixRef, _Mapping]] = ..., seed: _Optional[int] = ...) -> None: ...

class DropRequest(_message.Message):
    __slots__ = ("names", "prefix")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    prefix: str
    def __init__(self, names: _Optional[_Iterable[str]] = ..., prefix: _Optional[str] = ...) -> None: ...

class DropReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Operand(_message.Message):
    __slots__ = ("held", "sent", "transpose")
    HELD_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    TRANSPOSE_FIELD_NUMBER: _ClassVar[int]
    held: MatrixRef
    sent: MatrixHead
    transpose: bool
    def __init__(self, held: _Optional[_Union[MatrixRef, _Mapping]] = ..., sent: _Optional[_Union[MatrixHead, _Mapping]] = ..., transpose: _Optional[bool] = ...) -> None: ...

class MultiplyRequest(_message.Message):
    __slots__ = ("left", "right", "keep", "seed")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    left: Operand
    right: Operand
    keep: MatrixRef
    seed: int
    def __init__(self, left: _Optional[_Union[Operand, _Mapping]] = ..., right: _Optional[_Union[Operand, _Mapping]] = ..., keep: _Optional[_Union[MatrixRef, _Mapping]] = ..., seed: _Optional[int] = ...) -> None: ...

class MultiplyMessage(_message.Message):
    __slots__ = ("multiply", "data")
    MULTIPLY_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    multiply: MultiplyRequest
    data: bytes
    def __init__(self, multiply: _Optional[_Union[MultiplyRequest, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class UpdateRequest(_message.Message):
    __slots__ = ("name", "step", "outputs", "inputs", "rate", "momentum", "weight_decay", "seed")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    MOMENTUM_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    name: str
    step: int
    outputs: MatrixHead
    inputs: MatrixHead
    rate: float
    momentum: float
    weight_decay: float
    seed: int
    def __init__(self, name: _Optional[str] = ..., step: _Optional[int] = ..., outputs: _Optional[_Union[MatrixHead, _Mapping]] = ..., inputs: _Optional[_Union[MatrixHead, _Mapping]] = ..., rate: _Optional[float] = ..., momentum: _Optional[float] = ..., weight_decay: _Optional[float] = ..., seed: _Optional[int] = ...) -> None: ...

class UpdateMessage(_message.Message):
    __slots__ = ("update", "data")
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    update: UpdateRequest
    data: bytes
    def __init__(self, update: _Optional[_Union[UpdateRequest, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class SketchRequest(_message.Message):
    __slots__ = ("matrix", "omega_seed", "columns", "seed")
    MATRIX_FIELD_NUMBER: _ClassVar[int]
    OMEGA_SEED_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    matrix: MatrixRef
    omega_seed: int
    columns: int
    seed: int
    def __init__(self, matrix: _Optional[_Union[MatrixRef, _Mapping]] = ..., omega_seed: _Optional[int] = ..., columns: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class GetMatricesStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MatricesStatus(_message.Message):
    __slots__ = ("worker", "device", "declared_bytes", "used_bytes", "matrices")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DECLARED_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MATRICES_FIELD_NUMBER: _ClassVar[int]
    worker: str
    device: str
    declared_bytes: int
    used_bytes: int
    matrices: _containers.RepeatedCompositeFieldContainer[HeldMatrix]
    def __init__(self, worker: _Optional[str] = ..., device: _Optional[str] = ..., declared_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., matrices: _Optional[_Iterable[_Union[HeldMatrix, _Mapping]]] = ...) -> None: ...

class MatmulWish(_message.Message):
    __slots__ = ("a", "b", "blocks_m", "blocks_p", "blocks_n", "family", "max_error", "spares")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_M_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_P_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_N_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    MAX_ERROR_FIELD_NUMBER: _ClassVar[int]
    SPARES_FIELD_NUMBER: _ClassVar[int]
    a: MatrixHead
    b: MatrixHead
    blocks_m: int
    blocks_p: int
    blocks_n: int
    family: str
    max_error: float
    spares: int
    def __init__(self, a: _Optional[_Union[MatrixHead, _Mapping]] = ..., b: _Optional[_Union[MatrixHead, _Mapping]] = ..., blocks_m: _Optional[int] = ..., blocks_p: _Optional[int] = ..., blocks_n: _Optional[int] = ..., family: _Optional[str] = ..., max_error: _Optional[float] = ..., spares: _Optional[int] = ...) -> None: ...

class MatmulPlan(_message.Message):
    __slots__ = ("code", "nodes", "node_threshold")
    CODE_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    NODE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    code: str
    nodes: int
    node_threshold: int
    def __init__(self, code: _Optional[str] = ..., nodes: _Optional[int] = ..., node_threshold: _Optional[int] = ...) -> None: ...

class MatmulProgress(_message.Message):
    __slots__ = ("sent", "answered", "failed", "waiting")
    SENT_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    sent: float
    answered: int
    failed: int
    waiting: str
    def __init__(self, sent: _Optional[float] = ..., answered: _Optional[int] = ..., failed: _Optional[int] = ..., waiting: _Optional[str] = ...) -> None: ...

class MatmulReport(_message.Message):
    __slots__ = ("estimate", "used", "liars", "checked", "code", "failed", "wait_s", "decode_s")
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    LIARS_FIELD_NUMBER: _ClassVar[int]
    CHECKED_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    DECODE_S_FIELD_NUMBER: _ClassVar[int]
    estimate: float
    used: _containers.RepeatedScalarFieldContainer[str]
    liars: _containers.RepeatedScalarFieldContainer[str]
    checked: bool
    code: str
    failed: _containers.RepeatedScalarFieldContainer[str]
    wait_s: float
    decode_s: float
    def __init__(self, estimate: _Optional[float] = ..., used: _Optional[_Iterable[str]] = ..., liars: _Optional[_Iterable[str]] = ..., checked: _Optional[bool] = ..., code: _Optional[str] = ..., failed: _Optional[_Iterable[str]] = ..., wait_s: _Optional[float] = ..., decode_s: _Optional[float] = ...) -> None: ...

class MatmulRequest(_message.Message):
    __slots__ = ("wish", "data")
    WISH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    wish: MatmulWish
    data: bytes
    def __init__(self, wish: _Optional[_Union[MatmulWish, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class MatmulReply(_message.Message):
    __slots__ = ("plan", "progress", "report", "head", "data")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    plan: MatmulPlan
    progress: MatmulProgress
    report: MatmulReport
    head: MatrixHead
    data: bytes
    def __init__(self, plan: _Optional[_Union[MatmulPlan, _Mapping]] = ..., progress: _Optional[_Union[MatmulProgress, _Mapping]] = ..., report: _Optional[_Union[MatmulReport, _Mapping]] = ..., head: _Optional[_Union[MatrixHead, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...
