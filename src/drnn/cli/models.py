"""``drnn models [PATTERN]``."""

from jsonargparse import ArgumentParser

from drnn.costs import count_costs, count_params
from drnn.models import create_model, list_models


def run(argv: list[str]) -> None:
    """List networks with their costs."""
    parser = ArgumentParser(prog="drnn models", description="List the networks, with their costs for one image.")
    parser.add_argument("pattern", type=str, nargs="?", default="*", help="shell-style, such as 'dr_*'")
    names = list_models(pattern := parser.parse_args(argv).pattern)
    if not names:
        raise ValueError(f"no network matches {pattern!r}; drnn models lists all")
    print(f"{'name':20} {'params M':>9} {'loops':>6} {'target':>6} {'MACs M: max':>12} {'at target':>10}")
    for name in names:
        model = create_model(name)
        costs, rate = count_costs(model), model.target_rate
        expected = "-" if rate is None else f"{costs.expected_macs(rate) / 1e6:.2f}"
        print(
            f"{name:20} {count_params(model) / 1e6:9.4f} {len(costs.loop_macs):6} {rate or '-':>6} "
            f"{costs.max_macs / 1e6:12.2f} {expected:>10}"
        )
