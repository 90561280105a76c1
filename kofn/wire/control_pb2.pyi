from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Status(_message.Message):
    __slots__ = ("version", "process_id", "uptime_s", "workers", "deployments")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    version: str
    process_id: int
    uptime_s: float
    workers: _containers.RepeatedCompositeFieldContainer[WorkerStatus]
    deployments: _containers.RepeatedCompositeFieldContainer[DeploymentStatus]
    def __init__(self, version: _Optional[str] = ..., process_id: _Optional[int] = ..., uptime_s: _Optional[float] = ..., workers: _Optional[_Iterable[_Union[WorkerStatus, _Mapping]]] = ..., deployments: _Optional[_Iterable[_Union[DeploymentStatus, _Mapping]]] = ...) -> None: ...

class WorkerStatus(_message.Message):
    __slots__ = ("name", "address", "state", "device", "process_id", "outstanding", "queue_depth", "results", "lost", "p50_ms", "p99_ms", "cancelled", "busy_s", "trust", "lies")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    OUTSTANDING_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    P50_MS_FIELD_NUMBER: _ClassVar[int]
    P99_MS_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    BUSY_S_FIELD_NUMBER: _ClassVar[int]
    TRUST_FIELD_NUMBER: _ClassVar[int]
    LIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    state: str
    device: str
    process_id: int
    outstanding: int
    queue_depth: int
    results: int
    lost: int
    p50_ms: float
    p99_ms: float
    cancelled: int
    busy_s: float
    trust: float
    lies: int
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., state: _Optional[str] = ..., device: _Optional[str] = ..., process_id: _Optional[int] = ..., outstanding: _Optional[int] = ..., queue_depth: _Optional[int] = ..., results: _Optional[int] = ..., lost: _Optional[int] = ..., p50_ms: _Optional[float] = ..., p99_ms: _Optional[float] = ..., cancelled: _Optional[int] = ..., busy_s: _Optional[float] = ..., trust: _Optional[float] = ..., lies: _Optional[int] = ...) -> None: ...

class DeploymentStatus(_message.Message):
    __slots__ = ("name", "program", "code", "k", "n", "recovery_threshold", "exact", "policy", "ready", "queued_rows", "queue_limit_rows", "batches_in_flight", "answered_rows", "direct_rows", "decoded_rows", "failed_rows", "p50_ms", "p99_ms", "tasks_sent", "tasks_hedged", "models", "residual", "checked_batches", "suspicious_batches")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    RECOVERY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    QUEUED_ROWS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_LIMIT_ROWS_FIELD_NUMBER: _ClassVar[int]
    BATCHES_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_ROWS_FIELD_NUMBER: _ClassVar[int]
    DIRECT_ROWS_FIELD_NUMBER: _ClassVar[int]
    DECODED_ROWS_FIELD_NUMBER: _ClassVar[int]
    FAILED_ROWS_FIELD_NUMBER: _ClassVar[int]
    P50_MS_FIELD_NUMBER: _ClassVar[int]
    P99_MS_FIELD_NUMBER: _ClassVar[int]
    TASKS_SENT_FIELD_NUMBER: _ClassVar[int]
    TASKS_HEDGED_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_FIELD_NUMBER: _ClassVar[int]
    CHECKED_BATCHES_FIELD_NUMBER: _ClassVar[int]
    SUSPICIOUS_BATCHES_FIELD_NUMBER: _ClassVar[int]
    name: str
    program: str
    code: str
    k: int
    n: int
    recovery_threshold: int
    exact: bool
    policy: str
    ready: bool
    queued_rows: int
    queue_limit_rows: int
    batches_in_flight: int
    answered_rows: int
    direct_rows: int
    decoded_rows: int
    failed_rows: int
    p50_ms: float
    p99_ms: float
    tasks_sent: int
    tasks_hedged: int
    models: _containers.RepeatedScalarFieldContainer[str]
    residual: float
    checked_batches: int
    suspicious_batches: int
    def __init__(self, name: _Optional[str] = ..., program: _Optional[str] = ..., code: _Optional[str] = ..., k: _Optional[int] = ..., n: _Optional[int] = ..., recovery_threshold: _Optional[int] = ..., exact: _Optional[bool] = ..., policy: _Optional[str] = ..., ready: _Optional[bool] = ..., queued_rows: _Optional[int] = ..., queue_limit_rows: _Optional[int] = ..., batches_in_flight: _Optional[int] = ..., answered_rows: _Optional[int] = ..., direct_rows: _Optional[int] = ..., decoded_rows: _Optional[int] = ..., failed_rows: _Optional[int] = ..., p50_ms: _Optional[float] = ..., p99_ms: _Optional[float] = ..., tasks_sent: _Optional[int] = ..., tasks_hedged: _Optional[int] = ..., models: _Optional[_Iterable[str]] = ..., residual: _Optional[float] = ..., checked_batches: _Optional[int] = ..., suspicious_batches: _Optional[int] = ...) -> None: ...

class SetFaultsRequest(_message.Message):
    __slots__ = ("workers", "faults_json")
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    FAULTS_JSON_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedScalarFieldContainer[str]
    faults_json: str
    def __init__(self, workers: _Optional[_Iterable[str]] = ..., faults_json: _Optional[str] = ...) -> None: ...

class GetFaultsRequest(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, workers: _Optional[_Iterable[str]] = ...) -> None: ...

class WorkerFaults(_message.Message):
    __slots__ = ("worker", "faults_json", "error")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    FAULTS_JSON_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    worker: str
    faults_json: str
    error: str
    def __init__(self, worker: _Optional[str] = ..., faults_json: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class FaultsReply(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[WorkerFaults]
    def __init__(self, workers: _Optional[_Iterable[_Union[WorkerFaults, _Mapping]]] = ...) -> None: ...

class DeployRequest(_message.Message):
    __slots__ = ("deployment_yaml",)
    DEPLOYMENT_YAML_FIELD_NUMBER: _ClassVar[int]
    deployment_yaml: str
    def __init__(self, deployment_yaml: _Optional[str] = ...) -> None: ...

class UndeployRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class UndeployReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Event(_message.Message):
    __slots__ = ("time_s", "kind", "subject", "detail")
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    time_s: float
    kind: str
    subject: str
    detail: str
    def __init__(self, time_s: _Optional[float] = ..., kind: _Optional[str] = ..., subject: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...
