"""A search in words: what to do, what it costs, and when a code is not worth its trouble."""

from collections.abc import Iterator

from planner.search import Found, Plan, Wish

COIN = (
    "These plans are for one model's answer to a query. Where clients ask several models of one "
    "start for the same query, or want their mean, `coin` stands in for a lost one at 1/k more "
    "work, and copies take as much again; for one model at a time a copy is cheaper (docs/coin.md)."
)
FULL = 0.95  # of the workers' time


def advice(found: Found, wish: Wish) -> Iterator[str]:
    """Sentences, the most important first."""
    goal = f"p{100 * wish.quantile:g} of {1e3 * wish.slo_s:g} ms and {wish.floor:g} accurate"
    if found.chosen is None:
        near = found.nearest
        yield (
            f"Nothing meets {goal}. Nearest is {_named(near)}: {_figures(near)}"
            f"{_lacks(near, wish)}."
        )
        if found.plain.utilisation > FULL:
            yield "The workers are full even uncoded: more of them, or less load, comes first."
    elif found.chosen is found.plain:
        yield (
            f"Do not code: uncoded meets {goal} ({_figures(found.chosen)}), and nothing that does "
            f"is cheaper."
        )
    elif found.chosen.candidate.kind == "uncoded":
        yield (
            f"No code is needed: {_named(found.chosen)} meets {goal} at the least cost "
            f"({_figures(found.chosen)}); without hedges it is {_figures(found.plain)}."
        )
    else:
        yield f"{_named(found.chosen)} meets {goal} at the least cost: {_figures(found.chosen)}."
        yield f"Uncoded, for comparison: {_figures(found.plain)}{_lacks(found.plain, wish)}."
    if found.too_inaccurate:
        names = sorted({one.title for one in found.too_inaccurate})
        yield (
            f"Not simulated, for even their best answers are below {wish.floor:g}: "
            f"{', '.join(names)}."
        )
    yield COIN


def _named(plan: Plan) -> str:
    return f"{plan.candidate.title} ({plan.candidate.policy})"


def _figures(plan: Plan) -> str:
    return (
        f"{1e3 * plan.tail_s:.1f} ms, {plan.accuracy:.4f} accurate, "
        f"{1e3 * plan.cost_s:.2f} ms of work a query"
    )


def _lacks(plan: Plan, wish: Wish) -> str:
    lacks = []
    if plan.tail_s > wish.slo_s:
        lacks.append(f"{plan.tail_s / wish.slo_s:.2f} times the SLO")
    if plan.accuracy < wish.floor:
        lacks.append(f"{100 * (wish.floor - plan.accuracy):.2f} points below the floor")
    return f"; {' and '.join(lacks)}" if lacks else ""
