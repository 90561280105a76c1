"""Programs compute what their module computes, are named by contents, and say what they take."""

import asyncio
import io
import json
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from models.networks import make
from models.programs import (
    HashMismatch,
    ProgramRefused,
    TensorSpec,
    content_hash,
    export_program,
    load_program,
)

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


class Busy(nn.Module):
    """Constants, in-place work, sizes in arithmetic, several outputs of several types."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.rest = nn.Sequential(nn.ReLU(inplace=True), nn.Dropout())
        self.linear = nn.Linear(8, 10)
        self.register_buffer("scale", torch.rand(1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.rest(self.conv(images * torch.tensor(2.0) * self.scale)).double().float()
        flat = self.linear(maps.permute(0, 2, 3, 1).reshape(-1, 8))
        logits = flat.reshape(images.shape[0], -1, 10).mean(1)
        return logits.masked_fill(logits < 0, float("-inf")), logits.max(1)[1]


class Pair(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second.float()


class Constant(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.zeros(3) + images.mean()


class Counter(nn.Module):
    """Keeps state between calls: not a program."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return images * self.calls


@pytest.fixture(scope="module")
def lenet() -> nn.Module:
    torch.manual_seed(0)
    return make("lenet", (1, 8, 8), 10).eval()


@pytest.fixture(scope="module")
def archive(lenet: nn.Module) -> bytes:
    return export_program(lenet, torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("mlp", (1, 8, 8), {}),
        ("lenet", (1, 28, 28), {}),
        ("lenet", (3, 32, 32), {"width": 2}),
        ("resnet18", (3, 32, 32), {"width": 4}),
        ("resnet18", (3, 70, 66), {"width": 2}),
    ],
)
def test_a_program_equals_its_module_bit_for_bit_at_every_batch(
    name: str, shape: tuple[int, ...], options: dict[str, int]
) -> None:
    torch.manual_seed(1)
    module = make(name, shape, 10, **options).eval()
    program = load_program(export_program(module, torch.rand(2, *shape)))
    for batch in (1, 2, 3, 65):
        images = torch.rand(batch, *shape)
        with torch.inference_mode():
            assert torch.equal(program([images])[0], module(images))


@pytest.mark.parametrize("device", DEVICES)
def test_constants_in_place_work_and_several_outputs(device: str) -> None:
    torch.manual_seed(2)
    module = Busy().eval()
    program = load_program(export_program(module, torch.rand(1, 3, 8, 8)), device)
    assert program.inputs == (TensorSpec("input", "FP32", (3, 8, 8)),)
    assert program.outputs == (
        TensorSpec("output_0", "FP32", (10,)),
        TensorSpec("output_1", "INT64", ()),
    )
    images = torch.rand(5, 3, 8, 8)
    before = images.clone()
    logits, top = program([images])
    expected = module(images)
    assert logits.device.type == top.device.type == device
    torch.testing.assert_close(logits.cpu(), expected[0].detach())
    assert torch.equal(top.cpu(), expected[1])
    assert torch.equal(images, before)


def test_loading_moves_every_tensor_to_its_device() -> None:
    """The meta device has shapes only: it shows on any machine that nothing stays on the CPU."""
    program = load_program(export_program(Busy(), torch.rand(1, 3, 8, 8)), "meta")
    logits, top = program([torch.rand(5, 3, 8, 8)])
    assert logits.is_meta
    assert top.is_meta
    assert logits.shape == (5, 10)


def test_a_module_in_training_is_exported_as_it_evaluates_and_left_alone() -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.9))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    program = load_program(export_program(module, torch.rand(2, 1, 2, 2)))
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    images = torch.rand(4, 1, 2, 2)
    with torch.inference_mode():
        assert torch.equal(program([images])[0], module.eval()(images))


def test_several_inputs_keep_their_names() -> None:
    archive = export_program(Pair(), [torch.rand(2, 3), torch.ones(2, 3, dtype=torch.uint8)])
    program = load_program(archive)
    assert program.inputs == (
        TensorSpec("first", "FP32", (3,)),
        TensorSpec("second", "UINT8", (3,)),
    )
    assert program.outputs == (TensorSpec("logits", "FP32", (3,)),)
    (total,) = program([torch.ones(1, 3), torch.ones(1, 3, dtype=torch.uint8)])
    assert torch.equal(total, torch.full((1, 3), 2.0))


def test_wrong_tensors_are_refused_by_name(archive: bytes) -> None:
    program = load_program(archive)
    for tensors, match in [
        ([], "takes 1 tensors, not 0"),
        ([torch.rand(2, 1, 8, 9)], r"'input'.*\(2, 1, 8, 9\)"),
        ([torch.rand(0, 1, 8, 8)], "b >= 1"),
        ([torch.tensor(1.0)], "'input'"),
        ([torch.rand(2, 1, 8, 8).double()], "FP32, not torch.float64"),
    ]:
        with pytest.raises(ValueError, match=match):
            program(tensors)


def test_the_hash_names_the_contents(lenet: nn.Module, archive: bytes) -> None:
    assert content_hash(archive) == load_program(archive).hash
    again = export_program(lenet.train().requires_grad_(False), torch.ones(7, 1, 8, 8))
    lenet.eval().requires_grad_(True)
    assert again == archive

    for parameter in (next(lenet.parameters()), next(lenet.buffers())):
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.view(-1)[0] += 2.0**-20
        assert content_hash(export_program(lenet, torch.rand(2, 1, 8, 8))) != content_hash(archive)
        with torch.no_grad():
            parameter.copy_(kept)
    assert export_program(lenet, torch.rand(2, 1, 8, 8)) == archive


def test_one_operator_changes_the_hash() -> None:
    class Unary(nn.Module):
        def __init__(self, function: str) -> None:
            super().__init__()
            self.function = function

        def forward(self, images: Tensor) -> Tensor:
            return getattr(torch, self.function)(images)

    hashes = {
        content_hash(export_program(Unary(name), torch.rand(2, 3))) for name in ("sin", "cos")
    }
    assert len(hashes) == 2


def test_the_hash_does_not_depend_on_the_process_or_the_file(archive: bytes) -> None:
    script = (
        "import torch, sys; from models.networks import make; from models.programs import *;"
        "torch.manual_seed(0);"
        "print(content_hash(export_program(make('lenet', (1, 8, 8), 10), torch.rand(2, 1, 8, 8))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=25
    )
    assert done.stdout.strip() == content_hash(archive)

    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as old,
        zipfile.ZipFile(buffer, "w") as new,
    ):
        for name in reversed(old.namelist()):
            data = old.read(name)
            if name.endswith(".json"):
                data = json.dumps(json.loads(data), indent=3).encode()
            new.writestr("other" + name.removeprefix("archive"), data)
    assert buffer.getvalue() != archive
    assert content_hash(buffer.getvalue()) == content_hash(archive)


def test_nothing_of_the_machine_that_exported_is_in_the_archive(archive: bytes) -> None:
    assert b"site-packages" not in archive
    assert b".py" not in archive


def test_another_hash_is_refused_before_torch_reads_the_archive(
    archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("torch has been given the archive")

    monkeypatch.setattr(torch.export, "load", load)
    with pytest.raises(HashMismatch) as caught:
        load_program(archive, expect_hash="0" * 64)
    assert caught.value.actual == content_hash(archive)
    assert caught.value.expected == "0" * 64


def test_archives_of_torch_itself_are_taken(lenet: nn.Module) -> None:
    """Written by torch.export.save alone: with metadata, sample inputs and submodules."""
    exported = torch.export.export(
        lenet, (torch.rand(2, 1, 8, 8),), dynamic_shapes=({0: torch.export.Dim("b", min=1)},)
    )
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    program = load_program(buffer.getvalue())
    images = torch.rand(3, 1, 8, 8)
    with torch.inference_mode():
        assert torch.equal(program([images])[0], lenet(images))


def test_what_is_no_function_of_a_batch_is_refused(lenet: nn.Module) -> None:
    with pytest.raises(ProgramRefused, match="state"):
        export_program(Counter(), torch.rand(2, 3))
    with pytest.raises(ProgramRefused, match="batch"):
        load_program(export_program(Constant(), torch.rand(2, 3)))
    exported = torch.export.export(lenet, (torch.rand(2, 1, 8, 8),))
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    with pytest.raises(ProgramRefused, match="batch"):
        load_program(buffer.getvalue())


def test_threads_may_load_at_once_and_one_program_may_run_in_many(archive: bytes) -> None:
    with ThreadPoolExecutor(4) as threads:
        programs = list(threads.map(lambda _: load_program(archive), range(8)))
        images = torch.rand(5, 1, 8, 8)
        expected = programs[0]([images])[0]
        answers = list(threads.map(lambda _: programs[0]([images])[0], range(32)))
    assert all(torch.equal(answer, expected) for answer in answers)


async def test_loading_leaves_the_event_loop(archive: bytes) -> None:
    program = await asyncio.to_thread(load_program, archive)
    assert len(program.hash) == 64
