"""The flags of a policy, the same for what is served and for what is simulated."""

from typing import Annotated, Any

import typer

SoftDeadline = Annotated[str, typer.Option(help="How long, where it is soft: 20ms, p95, 3*p50.")]
Hedge = Annotated[
    str | None, typer.Option(help="Send a slot again after, and again: 20ms, p95, 3*p50.")
]
MaxSends = Annotated[int, typer.Option(min=1, help="Of one slot, hedges included.")]
Budget = Annotated[
    float | None,
    typer.Option(
        help="With --wait adaptive: extra tasks for each task; from n/k - 0.95 on they pay for all "
        "slots at once. [0.08]"
    ),
]
Threshold = Annotated[
    str | None, typer.Option(help="Responders to wait for before decoding: k or more, or any.")
]
Recheck = Annotated[
    float | None,
    typer.Option(
        help="With --liars, of approximate codes: share of honest groups that may ask another "
        "worker for a result in doubt; 0: none. [0.4]"
    ),
]


def policy_of(recovery_threshold: str | None, **given: Any) -> dict[str, Any]:
    """As in a deployment file: only what was given."""
    if recovery_threshold is not None:
        is_number = recovery_threshold.isdecimal()
        given["recovery_threshold"] = int(recovery_threshold) if is_number else recovery_threshold
    return {key: value for key, value in given.items() if value is not None}
