"""What the CIFAR-10 input pipeline costs, measured in pairs in one run.

python benchmarks/input_pipeline.py [--data_root DIR] [--rounds 9]
"""

import argparse
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

from drnn.data import Augmentation, Dataset, EpochPlan, Normalize, load_dataset
from drnn.provenance import environment
from drnn.storage import write_json
from drnn.timing import time_pairs

RESULT = Path(__file__).parent / "results" / "input_pipeline.json"
BATCH, SEED = 256, 0


def paired(first: Callable[[], object], second: Callable[[], object], rounds: int, images: int) -> dict:
    """Images per second of both: medians, and the median of the pairs' ratio of rates."""
    times = time_pairs(lambda _: first(), lambda _: second(), rounds, warmup=2, device="cpu")
    rates = [images / seconds for seconds in times.medians_s]
    return {"images_per_s": rates, "ratio": 1 / times.ratio, "rounds": rounds, "batch_size": BATCH}


def input_pipeline(data: Dataset, rounds: int) -> dict:
    """Batches from the resident tensor against a DataLoader over PIL images; ten batches a measurement."""
    normalize, augmentation = Normalize.of(data), Augmentation(padding=4, flip=True)

    def resident():
        batches = data.train_batches(EpochPlan(SEED, 0, BATCH), augmentation)
        for images, _ in islice(batches, 10):
            normalize(images)

    class Pictures(torch.utils.data.Dataset):
        transform = v2.Compose(
            [
                v2.RandomCrop(32, 4),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(data.mean, data.std),
            ]
        )

        def __len__(self):
            return 10 * BATCH

        def __getitem__(self, index):
            return self.transform(to_pil_image(data.train_images[index]))

    loader = torch.utils.data.DataLoader(Pictures(), BATCH, shuffle=True)

    def pictures():
        for _ in loader:
            pass

    return paired(resident, pictures, rounds, 10 * BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_root", default="data", help="folder of CIFAR-10")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    data = load_dataset("cifar10", options.data_root)
    result = {
        "environment": environment("cpu"),
        "seed": SEED,
        "input": {"sides": ["resident tensor", "DataLoader over PIL"], **input_pipeline(data, options.rounds)},
    }
    write_json(RESULT, result)
    part = result["input"]
    rates = (f"{side}: {rate:.0f} images/s;" for side, rate in zip(part["sides"], part["images_per_s"], strict=True))
    print(*rates, f"ratio {part['ratio']:.2f}")


if __name__ == "__main__":
    main()
