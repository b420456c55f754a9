"""Names of experiments, a user's own files, and the paths that are still to be set."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("hydra", reason="hydra-core is not installed")

from sam3.errors import InputError  # noqa: E402
from sam3.train.utils.config_names import (  # noqa: E402
    compose_config,
    full_config_name,
    known_configs,
)
from sam3.train.utils.placeholders import (  # noqa: E402
    check_placeholders,
    unset_placeholders,
)

GOLD = "gold_image_evals/sam3_gold_image_crowded"


@pytest.mark.parametrize(
    "name", [GOLD, f"{GOLD}.yaml", f"configs/{GOLD}", f"configs/{GOLD}.yaml", f"./configs/{GOLD}"]
)
def test_folder_and_suffix_may_be_left_out(name: str) -> None:
    assert full_config_name(name) == f"configs/{GOLD}.yaml"


def test_every_known_name_stands_for_itself() -> None:
    assert all(full_config_name(name) == name for name in known_configs())


def test_an_unknown_name_is_told_with_its_neighbours() -> None:
    with pytest.raises(InputError, match="sam3_gold_image_crowded"):
        compose_config("gold_image_evals/sam3_gold_image_crowd")


def test_overrides() -> None:
    config = compose_config(GOLD, ["scratch.resolution=504", "paths.metaclip_img_path=/pictures"])
    step = config.trainer.data.val.dataset.transforms[0].transforms[0]
    assert step.sizes == step.max_size.size == 504
    assert config.trainer.data.val.dataset.img_folder == "/pictures"


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(InputError, match="no_such_key"):
        compose_config(GOLD, ["paths.no_such_key=1"])


def test_a_file_of_the_user_builds_on_an_experiment(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(
        "# @package _global_\n"
        f"defaults: [/configs/{GOLD}, _self_]\n"
        "paths:\n"
        "  base_experiment_log_dir: /logs\n"
        "  base_annotation_path: /annotations\n"
        "  metaclip_img_path: /pictures\n"
    )
    config = compose_config(str(own))
    check_placeholders(config)
    assert config.launcher.experiment_log_dir == "/logs/gold_crowded/"
    assert config.trainer.data.val.dataset.ann_file.startswith("/annotations/gold_crowded_merged_a")


def test_only_paths_that_the_run_reads_are_missed() -> None:
    config = compose_config(GOLD)
    assert sorted(unset_placeholders(config)) == [
        "paths.base_annotation_path",
        "paths.base_experiment_log_dir",
        "paths.metaclip_img_path",
    ]
    with pytest.raises(InputError, match=r"paths\.metaclip_img_path: <folder of the MetaCLIP"):
        check_placeholders(config)
