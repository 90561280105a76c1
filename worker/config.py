"""What a worker is told at its start: one frozen object, from flags, environment and a file."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pooch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from kofn.settings import MessageMb, ServerTlsFiles, check, read_yaml
from kofn.wire.signing import trusted_key
from worker.faults_text import FaultsText


def _cache() -> Path:
    return Path(pooch.os_cache("kofn")) / "programs"


class WorkerConfig(BaseModel):
    """A worker's settings.

    Attributes:
        name: told to masters, stable over restarts; with the faults' seed it decides their draws.
        host, port: where to listen; port 0 takes a free one.
        device: "cpu", "cuda", "cuda:1".
        precision: of matrix products and convolutions; sums, weights and outputs stay float32.
        threads: of torch, within one forward pass.
        cache: folder of program archives; workers may share one.
        faults: injected from the start.
        max_batch_rows: most coding groups of one forward pass.
        max_queue_tasks: most tasks that wait; further ones are refused.
        max_loaded_programs: in memory at once; the least recently used make room.
        max_kept_programs: on disk at once, likewise.
        max_program_mb: largest archive taken, in units of 2^20 bytes.
        drain_s: how long work in hand may take at the end.
        tls: files of an encrypted connection, or their folder; None is plaintext.
        metrics_port: of Prometheus metrics, beside `host`; 0 takes a free one, None serves none.
        max_message_mb: largest message, either way, in units of 2^20 bytes.
        matrices_mb: most that matrices held by name, and products under way, may take,
            in units of 2^20 bytes.
        trust: a master's public Ed25519 key; programs that it did not sign are refused. None takes
            programs from whoever can connect.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)

    name: str = Field(default_factory=socket.gethostname, min_length=1, max_length=200)
    host: str = "127.0.0.1"
    port: int = Field(default=9000, ge=0, le=65535)
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?|mps)$")
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    threads: int = Field(default=1, ge=1, le=1024)
    cache: Path = Field(default_factory=_cache)
    faults: FaultsText = FaultsText()
    max_batch_rows: int = Field(default=256, ge=1)
    max_queue_tasks: int = Field(default=4096, ge=1)
    max_loaded_programs: int = Field(default=16, ge=1)
    max_kept_programs: int = Field(default=64, ge=1)
    max_program_mb: int = Field(default=1024, ge=1)
    drain_s: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    tls: ServerTlsFiles | None = None
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    max_message_mb: MessageMb = 64
    matrices_mb: int = Field(default=1024, ge=0)
    trust: Path | None = None

    @field_validator("trust")
    @classmethod
    def _is_a_key(cls, file: Path | None) -> Path | None:
        if file is not None:
            trusted_key(file)
        return file


def read_config(path: Path | None, laid_over: Mapping[str, Any]) -> WorkerConfig:
    """The file's settings, where there is a file, with others laid over them.

    Raises:
        SettingsError: field by field what is wrong.
    """
    settings = WorkerConfig() if path is None else read_yaml(path, WorkerConfig)
    folder = Path() if path is None else path.parent
    values = {field: getattr(settings, field) for field in WorkerConfig.model_fields}
    values["faults"] = settings.faults.inlined(folder)
    return check(values | dict(laid_over), WorkerConfig, "flags or environment")
