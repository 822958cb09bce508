"""Train a designed network: on scikit-learn's digits within minutes on a CPU, or on a folder of images.

    deepmad design examples/small.yaml -o small.json
    python examples/train.py small.json --data digits -o trained.safetensors
    python examples/train.py r50.json --data /data/imagenet --epochs 300 --batch 256 --opt lamb --lr 5e-3

A folder of images holds train/CLASS/*.jpg and val/CLASS/*.jpg. Optimisers and the schedule are timm's, by name
(pip install 'deepmad[timm]' 'torch==VERSION' with the version that is there; deepmad doctor has the command).
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from deepmad import Architecture, build
from deepmad.search_spaces.files import write_text
from deepmad.search_spaces.torch_builder import network_spec
from deepmad.search_spaces.torch_modules import feature_info
from deepmad.search_spaces.torchvision_operators import import_library
from deepmad.search_spaces.weights import write_safetensors

import_library("timm")  # whatever build of torchvision stands beside this PyTorch
import timm.data  # noqa: E402
from timm.optim import create_optimizer_v2  # noqa: E402
from timm.scheduler import create_scheduler_v2  # noqa: E402

Batches = Iterable[tuple[Tensor, Tensor]]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Task:
    """What is learnt: the network with its images and classes, and batches of images and labels."""

    network: Architecture
    train: Batches
    test: Batches
    updates: int


def digits(network: Architecture, batch: int, seed: int) -> Task:
    """Return the 1,797 digits, brought to 32 pixels or the least more that the network takes; 360 are for testing."""
    reduction = feature_info(network_spec(network))[-1]["reduction"]
    side = -(-32 // reduction) * reduction
    found = load_digits()
    pictures = torch.tensor(found.images, dtype=torch.float32)[:, None] / 8 - 1
    images = nn.functional.interpolate(pictures, side, mode="bilinear")
    labels = torch.tensor(found.target)
    held_out, learnt = np.split(np.random.default_rng(seed).permutation(len(labels)), [360])
    parts = [TensorDataset(images[rows], labels[rows]) for rows in (learnt, held_out)]
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(parts[0], batch, shuffle=True, drop_last=True, generator=order)
    adapted = replace(network, resolution=side, in_channels=1, classes=10)
    return Task(adapted, loader, DataLoader(parts[1], 360), len(loader))


def folder(network: Architecture, path: Path, batch: int, workers: int) -> Task:
    """Return the images of a folder with timm's usual augmentation, at the network's own resolution."""
    parts = [timm.data.create_dataset("", root=str(path), split=split) for split in ("train", "validation")]
    train, test = (
        timm.data.create_loader(
            part,
            (3, network.resolution, network.resolution),
            batch,
            is_training=part is parts[0],
            auto_augment="rand-m7-mstd0.5",
            num_workers=workers,
            use_prefetcher=False,
            device=DEVICE,
        )
        for part in parts
    )
    classes = len(parts[0].reader.class_to_idx)
    return Task(replace(network, in_channels=3, classes=classes), train, test, len(train))


def train(task: Task, *, epochs: int, seed: int = 0, **options: Any) -> nn.Module:
    """Return the trained network; loss and accuracy are printed after each pass.

    `options` are those of timm's optimisers: `opt`, `lr`, `weight_decay`.
    """
    torch.manual_seed(seed)
    model = build(task.network, zero_init_last=True).to(DEVICE)
    optimizer = create_optimizer_v2(model, **options)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=epochs,
        warmup_epochs=1 if epochs > 2 else 0,
        step_on_epochs=False,
        updates_per_epoch=task.updates,
    )
    for epoch in range(epochs):
        start = time.perf_counter()
        loss = one_pass(model, task.train, optimizer, scheduler, epoch * task.updates)
        share = accuracy(model, task.test)
        seconds = time.perf_counter() - start
        print(f"pass {epoch + 1}/{epochs}: loss {loss:.3f}, accuracy {share:.1%}, {seconds:.1f} s", flush=True)
    return model


def one_pass(model: nn.Module, batches: Batches, optimizer: Any, scheduler: Any, updates: int) -> float:
    """Train on every batch once; return the mean loss."""
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    losses = []
    model.train()
    for number, (images, labels) in enumerate(batches, start=1):
        loss = criterion(model(images.to(DEVICE)), labels.to(DEVICE))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step_update(updates + number)
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


@torch.inference_mode()
def accuracy(model: nn.Module, batches: Batches) -> float:
    """Return the share of images whose class the network tells."""
    model.eval()
    right = [model(images.to(DEVICE)).argmax(1).cpu() == labels for images, labels in batches]
    return float(torch.cat(right).double().mean())


def main(
    architecture: Annotated[str, typer.Argument(metavar="ARCH", help="An architecture or a solution file.")],
    data: Annotated[str, typer.Option(help="digits, or a folder with train/CLASS and val/CLASS.")] = "digits",
    epochs: Annotated[int, typer.Option(help="Passes over the data.", min=1)] = 6,
    batch: Annotated[int, typer.Option(help="Images in one batch.", min=2)] = 64,
    opt: Annotated[str, typer.Option(help="Optimiser, by timm's name.")] = "adamw",
    lr: Annotated[float, typer.Option(help="Learning rate after the warm-up.")] = 3e-3,
    weight_decay: Annotated[float, typer.Option(help="Weight decay.")] = 0.05,
    workers: Annotated[int, typer.Option(help="Processes that read images.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of weights and order.")] = 0,
    output: Annotated[Path | None, typer.Option("-o", help="Where to write the weights, the network beside.")] = None,
) -> None:
    """Train a designed network."""
    if output is not None and output.with_suffix(".json").resolve() == Path(architecture).resolve():
        raise typer.BadParameter(f"{output}: the network as trained would replace {architecture}; choose another -o")
    network = Architecture.load(architecture)
    task = digits(network, batch, seed) if data == "digits" else folder(network, Path(data), batch, workers)
    model = train(task, epochs=epochs, seed=seed, opt=opt, lr=lr, weight_decay=weight_decay)
    if output is not None:
        write_safetensors(model, output)
        write_text(output.with_suffix(".json"), json.dumps(task.network.to_dict(), indent=1))
        print(f"written to {output} and {output.with_suffix('.json')}")


if __name__ == "__main__":
    typer.run(main)
