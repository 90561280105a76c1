"""What a master is told: one deployment file, overridden by environment and flags.

Parsed once into frozen objects; an error names the field and what is accepted. Codes and policies
check their own parameters, and their messages appear under the field that they came from.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

import codes
from codes.base import BASE
from codes.ensemble import MEAN
from codes.locating import LocatesErrors, most_liars
from codes.polydot import LinearLayers
from kofn.settings import MessageMb, ServerTlsFiles, TlsFiles
from kofn.wire.access import read_token
from kofn.wire.signing import signing_key
from master.batcher import Limits
from master.discovery import check_target
from master.policy import Delay, Policy, Wait

SOURCE, EXPECTED_ERROR = "source", "expected_error"  # outputs beside the models' own
RESERVED = (MEAN, SOURCE, EXPECTED_ERROR)
USUAL_QUERIES = 1000  # that a calibrated code is measured with
QUERIES_OF_LIARS = 8000  # what is suspicious is told by the tails of honest results
ANY = "any"  # recovery threshold: whatever responds is decoded

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Port = Annotated[int, Field(ge=0, le=65535)]  # 0 takes a free one


class Strict(BaseModel):
    """Unknown keys are errors: a misspelt option must not be silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ControlServer(Strict):
    """Where operators are heard, and what they must show."""

    port: Port | None = None  # None: on the port of the inference service
    host: str | None = None  # of its own port; None: the server's
    tls: ServerTlsFiles | None = None  # of its own port; None: the server's
    token_file: Path | None = None  # else the environment's KOFN_CONTROL_TOKEN, else no token

    @field_validator("token_file")
    @classmethod
    def _holds_a_token(cls, file: Path | None) -> Path | None:
        if file is not None:
            read_token(file)
        return file

    @model_validator(mode="after")
    def _has_a_port(self) -> "ControlServer":
        if self.port is None and (self.host, self.tls) != (None, None):
            raise ValueError("needs a 'port' of its own for a 'host' or 'tls' of its own.")
        return self


class Server(Strict):
    """Where the master listens; the ports are Triton's."""

    host: str = "127.0.0.1"
    port: Port = 8001
    metrics_port: Port | None = 8002  # None: no metrics server
    drain_s: float = Field(10.0, ge=0)  # how long SIGTERM waits for requests in hand
    tls: ServerTlsFiles | None = None  # of both ports; with an authority, for known clients only
    control: ControlServer = ControlServer()
    max_message_mb: MessageMb = 64  # of clients and workers, either way


class CodeConfig(BaseModel):
    """A code by name with its parameters; `calibrated` wraps it in the LMMSE decoder."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    calibrated: bool = False
    checkpoint: str | None = None  # a trained code of the store: what its extra slots run

    @property
    def parameters(self) -> dict[str, Any]:
        """What `codes.make` gets beside the name."""
        return dict(self.__pydantic_extra__ or {})

    @model_validator(mode="after")
    def _makes_a_code(self) -> "CodeConfig":
        self.make()
        return self

    def make(self) -> codes.Code:
        """The code without what was trained for it, and not yet calibrated."""
        if self.name == LinearLayers.name:
            return layers_code(self.parameters)
        return codes.make(self.name, **self.parameters)


class PolicyConfig(Strict):
    """When to decode, when to send again; see `master.policy`."""

    wait: Wait = "soft"
    soft_deadline: str | None = "3*p50"
    hedge: str | None = None
    max_sends: int = Field(3, ge=1, le=100)
    gain_limit: float = Field(float("inf"), gt=0)
    # Responders to wait for; None: what the code makes best of; "any": from one on.
    recovery_threshold: Annotated[int, Field(ge=1)] | Literal["any"] | None = None
    liars: int = Field(0, ge=0)  # wrong results in a batch that must do no harm
    # Of codes that prove no lie: share of honest batches that may ask another worker for a result.
    recheck: float = Field(0.4, ge=0, lt=1)
    budget: float = Field(0.08, gt=0, le=8)  # of "adaptive": extra tasks for each task

    @field_validator("soft_deadline", "hedge")
    @classmethod
    def _is_a_delay(cls, text: str | None) -> str | None:
        Delay.parse(text)
        return text

    @model_validator(mode="before")
    @classmethod
    def _word_is_a_wait(cls, given: Any) -> Any:
        """`policy: adaptive` says it all."""
        return {"wait": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _makes_a_policy(self) -> "PolicyConfig":
        self.make()
        return self

    def make(self) -> Policy:
        """The policy that decides for each coded batch."""
        return Policy(
            wait=self.wait,
            soft_deadline=Delay.parse(self.soft_deadline),
            hedge=Delay.parse(self.hedge),
            max_sends=self.max_sends,
            gain_limit=self.gain_limit,
            recovery_threshold=1 if self.recovery_threshold == "any" else self.recovery_threshold,
            liars=self.liars,
            recheck=self.recheck,
            budget=self.budget,
        )


def layers_code(parameters: dict[str, Any]) -> LinearLayers:
    """The code over a model's linear layers.

    Raises:
        ValueError: other parameters than m and n, or m and n that do not fit.
    """
    if parameters.keys() != {"m", "n"}:
        raise ValueError(f"polydot takes m and n, not {', '.join(parameters) or 'nothing'}.")
    return LinearLayers(**parameters)


def check_recovery_threshold(wanted: int | str | None, code: codes.Code) -> None:
    """A code cannot carry k answers in fewer results, nor wait for more than it sends.

    Raises:
        ValueError: says what is accepted.
    """
    if isinstance(wanted, int) and not code.k <= wanted <= code.sent:
        raise ValueError(
            f"recovery_threshold must be in k = {code.k} .. n = {code.sent}, "
            f'or "any", not {wanted}.'
        )


class Batching(Strict):
    """How queries of concurrent clients become coded batches."""

    max_groups: int = Field(16, ge=1, le=65536)  # coding groups in one batch
    max_delay_ms: float = Field(2.0, ge=0, le=60_000)  # a row waits no longer for company
    queue_rows: int = Field(4096, ge=1)  # more than these are answered RESOURCE_EXHAUSTED
    max_request_rows: int = Field(1024, ge=1)
    max_in_flight: int = Field(8, ge=1)  # coded batches at the workers

    @model_validator(mode="after")
    def _request_fits_queue(self) -> "Batching":
        if self.max_request_rows > self.queue_rows:
            raise ValueError(
                f"max_request_rows ({self.max_request_rows}) must be at most queue_rows "
                f"({self.queue_rows}): a larger request could never be queued."
            )
        return self

    def limits(self) -> Limits:
        """For the batcher."""
        return Limits(
            max_groups=self.max_groups,
            max_delay_s=self.max_delay_ms / 1e3,
            queue_rows=self.queue_rows,
        )


class Calibration(Strict):
    """Unlabelled queries that a calibrated code is measured with, once, at deployment."""

    dataset: str | None = None  # default: the one that the program's card names
    queries: int | None = Field(None, ge=20)  # default: USUAL_QUERIES, or QUERIES_OF_LIARS
    seed: int = 0

    def count(self, liars: int) -> int:
        """Queries, where so many liars are looked for."""
        return self.queries or (QUERIES_OF_LIARS if liars else USUAL_QUERIES)


class DeploymentConfig(Strict):
    """One model behind one code, or several, under the name by which clients ask for it."""

    name: Name
    program: str | None = None  # in the model store, or the path of an archive
    # In place of it, for a code over models: the same of each, by what clients call it. A list
    # takes the programs' own names; others stay when a program is replaced.
    models: dict[Name, str] = {}
    code: CodeConfig = CodeConfig(name="uncoded", k=1)
    # Who runs the stem of a split model and mixes; see `master.encoding`.
    design: Literal["master", "worker"] = "master"
    policy: PolicyConfig = PolicyConfig()
    batching: Batching = Batching()
    timeout_ms: int = Field(1000, ge=1, le=600_000)  # when the client names none
    pad_scale: float = Field(1.0, gt=0, le=1e6)  # of a code's pads, in root mean squares of queries
    calibration: Calibration = Calibration()

    @field_validator("models", mode="before")
    @classmethod
    def _have_names(cls, given: Any) -> Any:
        """A list names each model by itself, an archive by its file."""
        if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
            return given
        names = [Path(one).stem if one.endswith(".pt2") else one for one in given]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"models must have different names, not {', '.join(twice)} twice: give them some, "
                f"as in models: {{first: {given[0]}, ...}}."
            )
        return dict(zip(names, given, strict=True))

    @model_validator(mode="after")
    def _models_fit_code(self) -> "DeploymentConfig":
        roles = self.code.make().model_roles
        wanted = 0 if roles == (BASE,) else len(roles)
        if (self.program is None) == (not self.models):
            raise ValueError("either program or models must be given, and not both.")
        if len(self.models) != wanted:
            over = f"{wanted}, for that is what the code {self.code.name!r} is over"
            raise ValueError(
                f"models must be {over if wanted else '0: the code is over queries'}, "
                f"not {len(self.models)}."
            )
        taken = [name for name in self.models if name in RESERVED]
        if taken:
            raise ValueError(
                f"models must not be named {', '.join(RESERVED)}, as other outputs are; "
                f"given: {', '.join(taken)}."
            )
        return self

    @model_validator(mode="after")
    def _threshold_fits_code(self) -> "DeploymentConfig":
        check_recovery_threshold(self.policy.recovery_threshold, self.code.make())
        return self

    @model_validator(mode="after")
    def _batch_fits_queue(self) -> "DeploymentConfig":
        rows = self.code.make().q * self.batching.max_groups
        if rows > self.batching.queue_rows:
            raise ValueError(
                f"batching.queue_rows must hold a full batch of max_groups x q = {rows} rows, "
                f"not {self.batching.queue_rows}."
            )
        return self

    @model_validator(mode="after")
    def _liars_are_found(self) -> "DeploymentConfig":
        liars, code = self.policy.liars, self.code.make()
        if not liars:
            return self
        if not (self.code.calibrated or isinstance(code, LocatesErrors | LinearLayers)):
            raise ValueError(
                f"policy.liars must be 0 for the code {code.name!r}, not {liars}: it cannot tell "
                f"who lies. Accepted: a calibrated code, or one of {', '.join(_locating())}."
            )
        if liars > most_liars(code):
            fewest = max(code.recovery_threshold, code.k)
            raise ValueError(
                f"policy.liars must be at most {most_liars(code)}, not {liars}: of n = {code.n} "
                f"slots, max(R, k) = {fewest} and two for each liar are needed."
            )
        return self


def _locating() -> list[str]:
    return [name for name, kind in codes.REGISTRY.items() if issubclass(kind, LocatesErrors)]


class MasterConfig(Strict):
    """A deployment file."""

    server: Server = Server()
    # HOST:PORT each; a name stands for all its addresses, file:PATH for the lines of a file.
    workers: tuple[str, ...] = ()
    workers_tls: TlsFiles | None = None  # for dialling them
    # A private Ed25519 key: workers that trust its public half run this master's programs only.
    signing_key: Path | None = None
    deployments: tuple[DeploymentConfig, ...] = ()

    @field_validator("signing_key")
    @classmethod
    def _is_a_key(cls, file: Path | None) -> Path | None:
        if file is not None:
            signing_key(file)
        return file

    @field_validator("workers")
    @classmethod
    def _are_targets(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        for target in targets:
            check_target(target)
        return targets

    @field_validator("deployments")
    @classmethod
    def _names_differ(cls, items: tuple[DeploymentConfig, ...]) -> tuple[DeploymentConfig, ...]:
        names = [item.name for item in items]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"Two deployments must not share a name: {', '.join(twice)}.")
        return items
