"""The evaluation with a fake processor that knows the answers, or knows nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sam3.train.data.scenes.vocabulary import parse
from sam3.train.eval.detection_metrics import rows
from sam3.train.eval.evaluate_scenes import ScenePlan, evaluate, plan_scene, run_scene, write_report


class Oracle:
    """Answers from the plan itself; ``error`` shifts every mask sideways by that many pixels."""

    def __init__(self, plans: list[ScenePlan], error: int = 0, silent: bool = False) -> None:
        self.plans, self.error, self.silent = (
            {p.scene.image.tobytes(): p.scene for p in plans},
            error,
            silent,
        )
        self.confidence_threshold = 0.5

    def set_confidence_threshold(self, value: float, state: Any = None) -> None:
        self.confidence_threshold = value

    def set_image(self, image: Any) -> dict[str, Any]:
        return {"scene": self.plans[np.asarray(image).tobytes()], "box": None}

    def reset_all_prompts(self, state: dict[str, Any]) -> None:
        state["box"] = None

    def add_geometric_prompt(self, box: list[float], label: bool, state: dict[str, Any]) -> None:
        assert label and len(box) == 4 and all(0 <= v <= 1 for v in box)
        state["box"] = box
        self._answer("visual", state)

    def _targets(self, text: str, state: dict[str, Any]) -> np.ndarray:
        scene = state["scene"]
        if text != "visual":
            return parse(text).matches(scene.attributes)
        height, width = scene.labels.shape
        centre = np.array([state["box"][0] * width, state["box"][1] * height])
        gaps = np.linalg.norm((scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2 - centre, axis=1)
        boxed = scene.attributes[gaps.argmin()]
        return (scene.attributes[:, :2] == boxed[:2]).all(1)

    def set_text_prompt(self, text: str, state: dict[str, Any]) -> None:
        self._answer(text, state)

    def _answer(self, text: str, state: dict[str, Any]) -> None:
        scene = state["scene"]
        keep = self._targets(text, state) & (not self.silent)
        masks = np.roll(scene.masks[keep], self.error, axis=2)
        state["masks"] = torch.from_numpy(masks)[:, None]
        state["boxes"] = torch.from_numpy(scene.boxes[keep])
        state["scores"] = torch.full((int(keep.sum()),), 0.9)
        logit = torch.tensor([[3.0 if keep.any() else -3.0]])
        state["grounding_outputs"] = {"presence_logit_dec": logit}


@pytest.fixture(scope="module")
def plans() -> list[ScenePlan]:
    return [plan_scene(11, index, max_side=200) for index in range(12)]


def test_a_perfect_processor_scores_one(plans: list[ScenePlan]) -> None:
    oracle = Oracle(plans)
    records = evaluate(oracle, len(plans), 11, max_side=200)
    total = rows(records)["all"]
    for key in (
        "mask_AP50",
        "mask_AP",
        "mask_iou_missed_0",
        "presence_accuracy",
        "box_iou_missed_0",
    ):
        assert total[key] == pytest.approx(1), key
    assert total["cgF1"] == pytest.approx(1, abs=1e-3)
    assert oracle.confidence_threshold == 0.5


def test_a_silent_processor_scores_nothing(plans: list[ScenePlan]) -> None:
    records = [r for plan in plans for r in run_scene(Oracle(plans, silent=True), plan)]
    total = rows(records)["all"]
    assert total["mask_AP50"] == 0 and total["mask_iou_missed_0"] == 0
    assert total["presence_accuracy"] == pytest.approx(1 - np.mean([r.num_gt > 0 for r in records]))


def test_shifted_masks_lower_the_iou(plans: list[ScenePlan]) -> None:
    records = [r for plan in plans for r in run_scene(Oracle(plans, error=6), plan)]
    total = rows(records)["all"]
    assert 0.3 < total["mask_iou_missed_0"] < 0.95 and total["box_iou_missed_0"] == pytest.approx(1)


def test_plans_repeat_and_are_balanced() -> None:
    first, second = plan_scene(3, 5), plan_scene(3, 5)
    assert np.array_equal(first.scene.image, second.scene.image) and first.queries == second.queries
    everything = [q for index in range(25) for q in plan_scene(3, index, max_side=150).queries]
    present = np.mean([len(q.targets) > 0 for q in everything])
    assert 0.35 < present < 0.55
    assert any(q.box_object is not None for q in everything)


def test_report_is_written_as_markdown_and_json(tmp_path: Path, plans: list[ScenePlan]) -> None:
    records = evaluate(Oracle(plans), len(plans), 11, max_side=200)
    report = {
        "command": "python -m x", "checkpoint": "tiny.safetensors", "checkpoint_bytes": 8_000_000,
        "resolution": 144, "scenes": 12, "seed": 11, "score_threshold": 0.5,
        "collect_threshold": 0.05, "seconds": 1.5, "environment": {"python": "3.11"},
        "rows": rows(records),
    }  # fmt: skip
    write_report(tmp_path / "deep" / "tiny.md", report)
    page = (tmp_path / "deep" / "tiny.md").read_text()
    assert (
        "| mask AP@50 | 1.000 | 0.850 | 0.750 |" in page
        and "8.00 MB" in page
        and "python -m x" in page
    )
    stored = json.loads((tmp_path / "deep" / "tiny.json").read_text())
    assert stored["rows"]["all"]["mask_AP50"] == 1 and stored["seed"] == 11
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["tiny.json", "tiny.md"]
    assert not any(math.isnan(v) for v in stored["rows"]["all"].values())
