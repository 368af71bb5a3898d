"""Tables 1-3: the paper's cells beside what the networks here come to."""

from dataclasses import dataclass
from functools import cache

from drnn.core import Gate, RecursiveBlock
from drnn.costs import Costs, count_costs, count_params
from drnn.models import create_model
from drnn.models.classifier import Classifier
from drnn.models.registry import model_spec


@dataclass(frozen=True)
class PaperRow:
    """One row as printed: accuracy columns in percent, ``params`` in 1e6, ``macs`` in 1e9 (the paper's "FLOPs").

    ``target_rate`` overrides the network's own where the paper trains one network to several.
    """

    title: str
    model: str
    params: float
    macs: float | None
    error: float | None = None
    top1: float | None = None
    top5: float | None = None
    target_rate: float | None = None


TABLE1 = (
    PaperRow("SD-ResNet 110", "sd_resnet110_cifar", 1.7, 0.255, error=5.25),
    PaperRow("Pre-ResNet 110", "preresnet110_cifar", 1.7, 0.255, error=6.37),
    PaperRow("AIG-ResNet 110", "aig_resnet110_cifar", 1.78, 0.215, error=5.76),
    PaperRow("RCNN-160", "rcnn160_cifar", 1.86, None, error=7.09),
    PaperRow("ResNet-110", "resnet110_cifar", 1.7, 0.255, error=6.61),
    PaperRow("DR-Res 74", "dr_resnet74_cifar", 0.92, 0.22, error=5.21),
    PaperRow("DR-Res 66", "dr_resnet66_cifar", 0.73, 0.214, error=5.66),
    PaperRow("DR-Res 58", "dr_resnet58_cifar", 0.55, 0.197, error=5.79),
    PaperRow("DR-Res 54", "dr_resnet54_cifar", 0.45, 0.192, error=5.97),
    PaperRow("ResNet-56", "resnet56_cifar", 0.85, 0.127, error=6.97),
    PaperRow("DR-Res 40", "dr_resnet40_cifar", 0.5, 0.11, error=6.51),
    PaperRow("DR-Res 32", "dr_resnet32_cifar", 0.31, 0.099, error=6.73),
    PaperRow("ResNet-20", "resnet20_cifar", 0.27, 0.041, error=8.75),
    PaperRow("DR-Res 16", "dr_resnet16_cifar", 0.18, 0.032, error=8.14),
)
TABLE2 = (
    PaperRow("ResNet-101", "resnet101", 44.54, 7.6, top1=77.95, top5=93.86),
    PaperRow("Stochastic Depth ResNet-101", "sd_resnet101", 44.54, 7.6, top1=77.2, top5=93.56),
    PaperRow("AIG-ResNet-101", "aig_resnet101", 46.23, 5.11, top1=77.93, top5=93.85),
    PaperRow("DR-ResNet 65", "dr_resnet65", 28.12, 5.49, top1=78.12, top5=93.9),
    PaperRow("DR-ResNet 53", "dr_resnet53", 23.6, 4.92, top1=77.96, top5=93.86),
    PaperRow("DR-ResNet 53", "dr_resnet53", 23.6, 4.62, top1=77.14, top5=93.52, target_rate=0.65),
    PaperRow("DR-ResNet 53", "dr_resnet53", 23.6, 4.35, top1=76.91, top5=93.51, target_rate=0.6),
    PaperRow("DR-ResNet 47", "dr_resnet47", 21.34, 4.56, top1=77.41, top5=93.54),
    PaperRow("DR-ResNet 44", "dr_resnet44", 20.21, 4.25, top1=77.27, top5=93.53),
    PaperRow("ResNet-50", "resnet50", 25.56, 3.8, top1=76.45, top5=92.9),
    PaperRow("Stochastic Depth ResNet-50", "sd_resnet50", 25.56, 3.8, top1=72.25, top5=90.86),
    PaperRow("AIG-ResNet 50", "aig_resnet50", 26.56, 3.15, top1=76.42, top5=93.17),
    PaperRow("DR-ResNet 35", "dr_resnet35", 17.61, 3.12, top1=76.48, top5=92.92),
    PaperRow("MobileNetV2", "mobilenetv2", 3.4, 0.3, top1=71.8, top5=90.27),
    PaperRow("DR-MobileNetV2", "dr_mobilenetv2", 2.96, 0.275, top1=71.8, top5=90.28),
)
TABLE3 = (
    PaperRow("ResNet-101", "resnet101", 44.54, 7.6, top1=77.95),
    PaperRow("R-ResNet 53", "r_resnet53_naive", 23.39, 7.6),
    PaperRow("R-ResNet 53, L", "r_resnet53_lvbn", 23.39, 7.6, top1=77.22),
    PaperRow("R-ResNet 53, L + G", "dr_resnet53_lvbn", 23.6, 4.92, top1=77.52),
    PaperRow("R-ResNet 53, L + G + I", "dr_resnet53", 23.6, 4.92, top1=77.96),
    PaperRow("R-ResNet 53*, L", "r_resnet53_lvbn", 23.39, 7.6, top1=78.38),
)
TABLES = {
    "Table 1, CIFAR-10": TABLE1,
    "Table 2, ImageNet": TABLE2,
    "Table 3, ablation on ImageNet": TABLE3,
}
HEADINGS = (
    "model", "name", "blocks", "loops", "paper error / top-1 %",
    "params M: live", "as published", "paper", "as published - paper",
    "max G", "target", "G at target", "paper G", "G - paper", "plain G: max", "at target",
)  # fmt: skip


def published_params(model: Classifier) -> int | None:
    """Parameters with what the authors' code evidently carried along unused; None where nothing was.

    That is a gate on every ordinary block of a gated recursive network, and one set of norms a loop in the first
    block of every recursive stage. Live parameters are `drnn.costs.count_params`.
    """
    extra = 0
    gates = [m.gate for m in model.modules() if isinstance(m, RecursiveBlock) and isinstance(m.gate, Gate)]
    scorer = type(gates[0].scorer) if gates else None
    for name, stage in model.named_children():
        if not name.startswith("layer"):
            continue
        recursive = [block for block in stage.children() if isinstance(block, RecursiveBlock)]
        ordinary = [block for block in stage.children() if not isinstance(block, RecursiveBlock)]
        if recursive and hasattr(recursive[0].body, "bn1") and _has_loop_norms(recursive[0]):
            norms = (layer for layer in ordinary[0].children() if hasattr(layer, "running_mean"))
            extra += (recursive[0].num_loops - 1) * sum(count_params(norm) for norm in norms)
        if scorer:
            extra += sum(count_params(scorer(_in_channels(block))) for block in ordinary)
    return count_params(model) + extra if extra else None


def _has_loop_norms(block: RecursiveBlock) -> bool:
    return hasattr(block.body.bn1, "loops")


def _in_channels(block) -> int:
    return (block.conv1 if hasattr(block, "conv1") else block.conv2).in_channels


@cache
def measured(name: str) -> tuple[int, int | None, Costs, Costs]:
    """Live and published parameters, costs in the paper's and in plain counting, of a freshly built network."""
    model = create_model(name)
    paper, plain = (count_costs(model, counting=counting) for counting in ("paper", "plain"))
    return count_params(model), published_params(model), paper, plain


def table_rows(rows: tuple[PaperRow, ...]) -> list[dict]:
    """Each row as a dict with `HEADINGS` for keys: params in 1e6, multiply-adds in 1e9, None for a cell not there."""
    return [dict(zip(HEADINGS, _cells(row), strict=True)) for row in rows]


def _cells(row: PaperRow) -> tuple:
    spec = model_spec(row.model)
    blocks, loops = (",".join(map(str, getattr(spec, field, ()))) or None for field in ("blocks", "loops"))
    live, published, paper, plain = measured(row.model)
    target = row.target_rate if row.target_rate is not None else spec.target_rate
    ours = (paper.expected_macs(target) if target else paper.max_macs) / 1e9
    return (
        row.title, row.model, blocks, loops,
        row.error or row.top1,
        live / 1e6, published / 1e6 if published else None, row.params, (published or live) / 1e6 - row.params,
        paper.max_macs / 1e9, target, ours if target else None, row.macs,
        None if row.macs is None else ours - row.macs,
        plain.max_macs / 1e9, plain.expected_macs(target) / 1e9 if target else None,
    )  # fmt: skip


def all_tables() -> dict[str, list[dict]]:
    """Every table by its title, as `table_rows` gives it."""
    return {title: table_rows(rows) for title, rows in TABLES.items()}


def markdown() -> str:
    """Tables 1-3 as Markdown."""
    parts = []
    for title, rows in all_tables().items():
        digits = 4 if title.startswith("Table 1") else 3
        lines = [HEADINGS, ("---",) * len(HEADINGS)]
        lines += [tuple(_show(key, cell, digits) for key, cell in row.items()) for row in rows]
        parts.append(f"## {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _show(heading: str, cell, digits: int) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str) or heading in ("target", "paper", "paper G", "paper error / top-1 %"):
        return str(cell)
    return f"{cell:+.{digits}f}" if heading.endswith("- paper") else f"{cell:.{digits}f}"
