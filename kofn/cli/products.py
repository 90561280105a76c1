"""`kofn codes` on codes of matrix products, which have blocks and nodes, not k and n."""

from typing import TYPE_CHECKING, Any

from kofn.cli.output import paper, print_table

if TYPE_CHECKING:
    from codes.polydot import Product


def product_of(name: str, k: int, n: int, settings: dict[str, Any]) -> "Product":
    """k blocks of C on n nodes: p = 1 and the most even m x n grid, unless settings say else."""
    import codes

    rows = max(m for m in range(1, k + 1) if k % m == 0 and m * m <= k)
    grid = {"blocks_m": rows, "blocks_p": 1, "blocks_n": k // rows}
    try:
        return codes.PRODUCTS[name](**{**grid, "nodes": n, **settings})
    except TypeError:
        known = "blocks_m, blocks_p, blocks_n, family"
        raise ValueError(f"Code {name!r} takes {known}, not {', '.join(settings)}.") from None


def facts_of(code: "Product") -> dict[str, Any]:
    """As other codes have them."""
    probable, adversarial = code.most_liars()
    return {
        "name": code.name,
        "code": repr(code),
        "k": code.blocks_m * code.blocks_n,
        "n": code.nodes,
        "recovery_threshold": code.node_threshold,
        "exact": True,
        "summary": code.summary,
        "source": code.source,
        "family": code.kind,
        "rows_needed": code.threshold,
        "rows_per_node": code.rows_per_node,
        "most_liars": {"probable": probable, "adversarial": adversarial},
    }


def losses_of(code: "Product") -> list[dict[str, Any]]:
    """What lost nodes cost, by their number."""
    from statistics import median

    from codes.verify import subsets

    losses = []
    for lost in range(code.nodes):
        gains = [code.frame.gain(nodes) for nodes in subsets(code.nodes, code.nodes - lost)]
        whole = [gain for gain in gains if gain < float("inf")]
        losses.append(
            {
                "lost": lost,
                "sets": len(gains),
                "recoverable": len(whole),
                "median_gain": median(whole) if whole else None,
                "worst_gain": max(whole, default=None),
                "most_liars": code.most_liars(lost)._asdict(),
            }
        )
    return losses


def print_product(code: "Product", losses: list[dict[str, Any]]) -> None:
    """For a terminal."""
    m, p, n = code.grid
    probable, adversarial = code.most_liars()
    wide = ", as complex numbers," if code.rows_per_node == 2 else ""
    paper.print(f"{code}: {code.summary}")
    paper.print(
        f"exact; any {code.node_threshold} of {code.nodes} nodes give C = A B, by the family "
        f"{code.kind}: {code.threshold} rows, {code.rows_per_node} a node"
    )
    paper.print(f"a node holds 1/{m * p} of A and 1/{p * n} of B{wide} and returns 1/{m * n} of C")
    paper.print(
        f"liars: at most {probable} whose errors have nothing to do with each other, "
        f"{adversarial} whatever they agree on"
    )
    print_table(
        "Losses (noise gain: how much an answer's error grows in C), and liars beside them",
        ("lost nodes", "sets", "recoverable", "median gain", "worst gain", "liars, probable",
         "liars, adversarial"),
        [
            (row["lost"], row["sets"], row["recoverable"], _number(row["median_gain"]),
             _number(row["worst_gain"]), row["most_liars"]["probable"],
             row["most_liars"]["adversarial"])
            for row in losses
        ],
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
