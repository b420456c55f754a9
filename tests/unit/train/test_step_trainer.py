"""The training loop on a toy model: resume, accumulation, two processes, stops and failures."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sam3.errors import CheckpointFormatError, CheckpointMismatchError, InputError
from sam3.train.loop.config import TrainConfig
from sam3.train.loop.parallel import run_parallel
from sam3.train.loop.step_trainer import StepTrainer, make_adamw

WEIGHT = torch.tensor([[1.0, -2.0, 0.5]])


class Source:
    """Batch ``number`` is drawn from its number; optionally does something at one number."""

    def __init__(self, hook: dict[int, object] | None = None) -> None:
        self.hook = hook or {}

    def batch(self, number: int, progress: float) -> tuple[Tensor, Tensor]:
        if number in self.hook:
            self.hook[number]()  # type: ignore[operator]
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(number))
        return x, x @ WEIGHT.T


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.drop = nn.Dropout(0.2)

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.linear(self.drop(batch[0]))


def loss_of(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    error = ((outputs - batch[1]) ** 2).mean()
    return {"core_loss": error, "half": error.detach() / 2}


def make(folder: Path, source: Source | None = None, drop: bool = True, **options) -> StepTrainer:  # type: ignore[no-untyped-def]
    torch.manual_seed(7)
    net = Net()
    if not drop:
        net.drop.p = 0.0
    given = {k: options.pop(k) for k in ("evaluate", "optimizer_factory") if k in options}
    values = {"steps": 12, "lr": 0.05, "warmup_steps": 3, "log_every": 4, **options}
    config = TrainConfig(**values)  # type: ignore[arg-type]
    return StepTrainer(net, loss_of, source or Source(), config=config, folder=folder, **given)


def weights(trainer: StepTrainer) -> list[Tensor]:
    with trainer.ema.averaged():
        average = [p.detach().clone() for p in trainer.model.parameters()]
    return [p.detach().clone() for p in trainer.model.parameters()] + average


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[tuple[int, dict]]:
    return [(line["step"], line["losses"]) for line in lines(folder) if "losses" in line]


def assert_same(left: StepTrainer, right: StepTrainer) -> None:
    for a, b in zip(weights(left), weights(right), strict=True):
        assert torch.equal(a, b)


def test_learns_and_logs(tmp_path: Path) -> None:
    trainer = make(tmp_path, steps=150, drop=False)
    result = trainer.run()
    assert result.finished and result.step == 150
    history = losses(tmp_path)
    assert [step for step, _ in history] == list(range(4, 150, 4))
    assert history[-1][1]["core_loss"] < 0.05 * history[0][1]["core_loss"]
    assert set(lines(tmp_path)[0]["seconds"]) == {"data", "forward", "loss", "backward", "update"}


def test_a_group_follows_the_schedule_at_its_own_rate(tmp_path: Path) -> None:
    def factory(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
        return make_adamw(model, config, lr_scales={"": 0.25})

    trainer = make(tmp_path, steps=5, optimizer_factory=factory)
    trainer.run()
    expected = 0.25 * trainer.schedule(4, 4 / 5)
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {expected}


def crash() -> None:
    raise ConnectionError("killed")


@pytest.mark.parametrize("crash_at", [1, 5, 11])
def test_resume_after_a_crash_gives_the_same_numbers(tmp_path: Path, crash_at: int) -> None:
    whole = make(tmp_path / "whole")
    whole.run()
    # A checkpoint before every step; the crash then loses the step that was under way.
    broken = make(tmp_path / "cut", Source({crash_at: crash}), checkpoint_minutes=0)
    with pytest.raises(ConnectionError):
        broken.run()
    resumed = make(tmp_path / "cut")
    assert resumed.run(resume=True).finished
    assert_same(whole, resumed)
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


def test_resume_uses_previous_when_latest_is_damaged(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole")
    whole.run()
    broken = make(tmp_path / "cut", Source({7: crash}), checkpoint_minutes=0)
    with pytest.raises(ConnectionError):
        broken.run()
    latest = tmp_path / "cut" / "latest.pt"
    latest.write_bytes(latest.read_bytes()[:500])
    resumed = make(tmp_path / "cut")
    resumed.run(resume=True)
    assert_same(whole, resumed)
    for name in ("latest.pt", "previous.pt"):
        (tmp_path / "cut" / name).write_bytes(b"no")
    with pytest.raises(CheckpointFormatError, match="latest.pt, previous.pt"):
        make(tmp_path / "cut").run(resume=True)


def test_resume_of_a_finished_run_does_nothing(tmp_path: Path) -> None:
    first = make(tmp_path)
    first.run()
    again = make(tmp_path, Source({n: crash for n in range(100)}))
    assert again.run(resume=True).finished
    assert_same(first, again)


def test_resume_with_another_model(tmp_path: Path) -> None:
    make(tmp_path).run()
    other = make(tmp_path)
    other.model.linear = nn.Linear(3, 2)
    with pytest.raises(CheckpointMismatchError, match="another model"):
        other.run(resume=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_with_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    whole = make(tmp_path / "whole")
    whole.run()
    before = signal.getsignal(number)
    stopped = make(tmp_path / "cut", Source({5: lambda: os.kill(os.getpid(), number)}))
    result = stopped.run()
    assert not result.finished and result.step == 6
    assert signal.getsignal(number) == before
    resumed = make(tmp_path / "cut")
    resumed.run(resume=True)
    assert_same(whole, resumed)


def test_diverged_loss_is_reported(tmp_path: Path) -> None:
    trainer = make(tmp_path)

    def bad(outputs: Tensor, batch: object) -> dict[str, Tensor]:
        value = loss_of(outputs, batch)["core_loss"]  # type: ignore[arg-type]
        return {"core_loss": value * (float("nan") if trainer.step == 3 else 1.0)}

    trainer.loss = bad
    trainer.describe = lambda batch: "(red circle)"
    with pytest.raises(FloatingPointError, match=r"nan at step 3, batch 3 \(red circle\)"):
        trainer.run()
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_minutes_end_a_run(tmp_path: Path) -> None:
    trainer = make(tmp_path, steps=None, minutes=2.0)
    now = iter(range(0, 10_000, 10))
    trainer.clock._now = lambda: float(next(now))
    trainer.clock.resume(0.0)
    result = trainer.run()
    assert result.finished and 0 < result.step < 12
    assert make(tmp_path, steps=None, minutes=2.0).run(resume=True).step == result.step


def test_evaluation_sees_averaged_weights_in_eval_mode(tmp_path: Path) -> None:
    seen = []

    def evaluate(model: nn.Module, step: int) -> dict[str, float]:
        seen.append((step, model.training, model.linear.weight.detach().clone()))
        return {"score": step / 10}

    trainer = make(tmp_path, evaluate=evaluate)
    result = trainer.run()
    assert result.metrics == {"score": 1.2} and trainer.model.training
    step, training, weight = seen[-1]
    assert (step, training) == (12, False)
    assert not torch.equal(weight, trainer.model.linear.weight)
    with trainer.ema.averaged():
        assert torch.equal(weight, trainer.model.linear.weight)
    assert [line["evaluation"] for line in lines(tmp_path) if "evaluation" in line] == [
        {"score": 1.2}
    ]


def parallel_run(folder: Path, resume: bool, steps: int) -> list[Tensor]:
    trainer = make(folder, drop=False, steps=steps, lr=0.01)
    trainer.run(resume=resume)
    return weights(trainer)


def test_two_processes_equal_accumulation_of_two(tmp_path: Path) -> None:
    single = make(tmp_path / "one", drop=False, accumulation=2, lr=0.01)
    single.run()
    double = run_parallel(parallel_run, 2, tmp_path / "two", False, 12)
    for a, b in zip(weights(single), double, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def failing(folder: Path) -> None:
    source = Source({3: crash})  # batch 3 belongs to the second process
    make(folder, source).run()


@pytest.mark.slow
def test_failure_of_a_helper_process_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        run_parallel(failing, 2, tmp_path)


@pytest.mark.parametrize(
    "options",
    [{}, {"steps": 1, "minutes": 1}, {"steps": 0}, {"steps": 5, "accumulation": 0}],
)
def test_bad_config(options: dict) -> None:
    with pytest.raises(InputError):
        TrainConfig(**options)
