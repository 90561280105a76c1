"""`kofn codes`: what each code promises, whether it keeps it, and where it comes from."""

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from kofn.cli.output import Json, Settings, paper, parameters, print_json, print_table
from kofn.cli.products import facts_of, losses_of, print_product, product_of

if TYPE_CHECKING:
    from codes import Code

app = typer.Typer(help="Erasure codes over computations.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="As in `kofn codes list`.")]
K = Annotated[int, typer.Option("--k", min=1, help="Answers a group.")]
N = Annotated[int, typer.Option("--n", min=1, help="Slots a group.")]


@app.command("list")
def list_(k: K = 4, n: N = 6, as_json: Json = False) -> None:
    """Show every code with k, n, recovery threshold, exactness and source."""
    import codes

    rows = [_facts(_made(name, k, n, {})) for name in codes.REGISTRY]
    rows += [facts_of(product_of(name, k, n, {})) for name in codes.PRODUCTS]
    if as_json:
        print_json(rows)
        return
    print_table(
        f"Codes at k = {k}, n = {n}; R results are enough for all answers",
        ("code", "k", "n", "R", "exact", "what it is", "source"),
        [
            (r["name"], r["k"], r["n"], r["recovery_threshold"], "yes" if r["exact"] else "no",
             r["summary"], r["source"])
            for r in rows
        ],
    )  # fmt: skip


@app.command()
def show(name: Name, k: K = 4, n: N = 6, settings: Settings = None, as_json: Json = False) -> None:
    """Show one code: its slots, liars and pads, and the noise gain of every number of losses.

    Of matrix products: --k blocks of C on --n nodes, or --set blocks_m=2, blocks_p=2, blocks_n=2.
    """
    import codes
    from codes.locating import LocatesErrors, most_liars
    from codes.verify import subsets

    if name in codes.PRODUCTS:
        product = product_of(name, k, n, parameters(settings))
        found = losses_of(product)
        if as_json:
            print_json({**facts_of(product), "losses": found})
        else:
            print_product(product, found)
        return
    code = _made(name, k, n, parameters(settings))
    losses = []
    for lost in range(code.n):
        gains = [code.gain(slots) for slots in subsets(code.n, code.n - lost)]
        whole = [float(gain.max()) for gain in gains if np.isfinite(gain).all()]
        losses.append(
            {
                "lost": lost,
                "sets": len(gains),
                "recoverable": len(whole),
                "median_gain": float(np.median(whole)) if whole else None,
                "worst_gain": max(whole) if whole else None,
            }
        )
    facts = {
        **_facts(code),
        "own_slots": [list(own) for own in code.own_slots],
        "losses": losses,
        "locates": isinstance(code, LocatesErrors),
        "most_liars": most_liars(code),
        "pads": code.pads,
    }
    if as_json:
        print_json(facts)
        return
    paper.print(f"{facts['code']}: {facts['summary']}")
    held = "exact" if code.exact else "approximate"
    paper.print(
        f"{held}; any {code.recovery_threshold} of {code.n} slots give all {code.k} answers"
    )
    for answer, own in enumerate(code.own_slots):
        where = ", ".join(map(str, own)) if own else "none: it is always decoded"
        paper.print(f"  answer {answer}: own slots {where}")
    for line in _limits(code):
        paper.print(line)
    print_table(
        "Losses (noise gain: how much a result's error grows in the worst answer)",
        ("lost slots", "sets", "recoverable", "median gain", "worst gain"),
        [
            (row["lost"], row["sets"], row["recoverable"], _number(row["median_gain"]),
             _number(row["worst_gain"]))
            for row in losses
        ],
    )  # fmt: skip


def _limits(code: "Code") -> Iterator[str]:
    """What a code bears of liars and hides from the curious."""
    from codes.lagrange import Lagrange
    from codes.linear import LinearDecoding
    from codes.locating import LocatesErrors, most_liars

    fewest = max(code.recovery_threshold, code.k)
    if isinstance(code, LocatesErrors):
        yield f"liars: at most {most_liars(code)}; E are named by any {fewest} + 2 E slots"
    elif isinstance(code, LinearDecoding):
        yield f"liars: calibrated only, at most {most_liars(code)}, and not with certainty"
    if isinstance(code, Lagrange):
        weighs = f", of weight {code.pad_weight:.2g} at least in a shard" if code.pads else ""
        yield f"pads: {code.pads}{weighs} (--set pads=T hides queries from T slots, not perfectly)"


@app.command()
def verify(
    name: Name,
    k: K = 4,
    n: N = 6,
    settings: Settings = None,
    most_sets: Annotated[int, typer.Option(min=1, help="Of one size; else a sample.")] = 300,
    seed: Annotated[int, typer.Option(help="Of queries and samples.")] = 0,
    as_json: Json = False,
) -> None:
    """Walk the sets of responders; exit 0: as promised, 1: refused too much, 3: silently wrong."""
    import codes
    from codes.polydot.verify import verify as walk_product
    from codes.verify import verify as walk

    given = parameters(settings)
    if name in codes.PRODUCTS:
        seen = walk_product(product_of(name, k, n, given), most_sets=most_sets, seed=seed)
    else:
        seen = walk(_made(name, k, n, given), most_sets=most_sets, seed=seed)
    if as_json:
        print_json(
            {
                "code": seen.code,
                "held_to": seen.says,
                "recovery_threshold": seen.threshold,
                "fates": [{"slots": i, **fates} for i, fates in enumerate(seen.fates, 1)],
                "refused_wrongly": seen.unkept,
                "silently_wrong": seen.wrong,
                "exit_code": seen.exit_code,
            }
        )
    else:
        for line in seen.lines():
            print(line)
    raise typer.Exit(seen.exit_code)


@app.command()
def cite(name: Name, as_json: Json = False) -> None:
    """Print the BibTeX entry of a code's source."""
    import codes

    kind = codes.REGISTRY.get(name) or codes.PRODUCTS.get(name)
    if kind is None:
        codes.make(name)  # raises, naming those that are near
        return
    entries = files("codes").joinpath("refs.bib").read_text(encoding="utf-8")
    found = re.search(rf"^@\w+\{{{kind.source},.*?^\}}", entries, re.M | re.S)
    text = found.group() if found and kind.source else ""
    if as_json:
        print_json({"code": name, "source": kind.source, "bibtex": text})
    else:
        print(text or f"% {name} is folklore: there is nothing to cite.")


def _made(name: str, k: int, n: int, settings: dict[str, Any]) -> "Code":
    import codes

    if name == "uncoded":
        return codes.make(name, k=k, **settings)
    return codes.make(name, k=k, n=n, **settings)


def _facts(code: "Code") -> dict[str, Any]:
    return {
        "name": code.name,
        "code": repr(code),
        "k": code.k,
        "n": code.n,
        "recovery_threshold": code.recovery_threshold,
        "exact": code.exact,
        "summary": code.summary,
        "source": code.source,
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
