"""What the CIFAR-10 input pipeline and one training step cost, measured in pairs in one run.

python benchmarks/input_pipeline.py [--data_root DIR] [--rounds 9]
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torchvision.transforms import v2
from torchvision.transforms.functional import to_pil_image

from drnn.data import Dataset, Normalize, PadCropFlip, load_dataset
from drnn.provenance import environment
from drnn.storage import write_json
from drnn.timing import time_pairs
from drnn.training import find_recipe
from drnn.training.run_folder import build_model
from drnn.training.trainer import Session

RESULT = Path(__file__).parent / "results" / "input_pipeline.json"
BATCH, SEED = 256, 0


def paired(first: Callable[[], object], second: Callable[[], object], rounds: int, images: int) -> dict:
    """Images per second of both: medians, and the median of the pairs' ratio of rates."""
    times = time_pairs(lambda _: first(), lambda _: second(), rounds, warmup=2)
    rates = [images / seconds for seconds in times.medians_s]
    return {"images_per_s": rates, "ratio": 1 / times.ratio, "rounds": rounds, "batch_size": BATCH}


def input_pipeline(data: Dataset, rounds: int) -> dict:
    """Batches from the resident tensor against a DataLoader over PIL images; ten batches a measurement."""
    generator, normalize = torch.Generator().manual_seed(SEED), Normalize(data.mean, data.std)
    augment = PadCropFlip(4, True)

    def resident():
        for rows in torch.randperm(len(data.train_images), generator=generator)[: 10 * BATCH].split(BATCH):
            normalize(augment(data.train_images[rows], generator))

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


def training_step(data: Dataset, rounds: int) -> dict:
    """One step of the paper's recipe, augmentation included: dr_resnet16_cifar against resnet20_cifar."""
    steps = []
    for name in ("cifar10-dr16", "cifar10-resnet20"):
        recipe = replace(find_recipe(name), lr=0.01)
        torch.manual_seed(SEED)
        session = Session(recipe, build_model(recipe, data), data, torch.Generator().manual_seed(SEED))
        session.model.train()
        steps.append(lambda s=session: s.step(torch.randperm(len(data.train_images))[:BATCH], 0.01))
    return paired(steps[0], steps[1], rounds, BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_root", default="data", help="folder of CIFAR-10")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    data = load_dataset("cifar10", options.data_root)
    result = {
        "environment": environment(),
        "seed": SEED,
        "input": {"sides": ["resident tensor", "DataLoader over PIL"], **input_pipeline(data, options.rounds)},
        "step": {"sides": ["dr_resnet16_cifar", "resnet20_cifar"], **training_step(data, options.rounds)},
    }
    write_json(RESULT, result)
    for name in ("input", "step"):
        part = result[name]
        print(name, *(f"{s}: {r:.0f} images/s;" for s, r in zip(part["sides"], part["images_per_s"], strict=True)),
              f"ratio {part['ratio']:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
