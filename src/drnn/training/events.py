"""Metrics as events for TensorBoard, the extra ``log``."""

from collections.abc import Callable
from pathlib import Path


def event_writer(folder: Path) -> Callable[[dict], None]:
    """A function that adds an epoch's metrics to ``folder/tensorboard``.

    Raises:
        ValueError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError("TensorBoard is not installed; pip install 'drnn[log]', or leave --tensorboard out") from error
    writer = SummaryWriter(str(folder / "tensorboard"))

    def write(metrics: dict) -> None:
        epoch = metrics["epoch"]
        for name, value in metrics.items():
            if isinstance(value, float):
                writer.add_scalar(name, value, epoch)
        for slot, rate in enumerate(metrics["executed_rates"]):
            if rate is not None:
                writer.add_scalar(f"executed_rate/{slot}", rate, epoch)
        writer.flush()

    return write
