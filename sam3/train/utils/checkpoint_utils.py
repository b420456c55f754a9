"""Parameters that checkpoints leave out: which these are, and that training leaves them alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import CheckpointMismatchError, InputError


def matching_names(names: Iterable[str], patterns: Sequence[str]) -> set[str]:
    """The names that match one of the patterns (as of fnmatch)."""
    return {name for name in names if any(fnmatchcase(name, p) for p in patterns)}


def without_matching(state: Mapping[str, Tensor], patterns: Sequence[str]) -> dict[str, Tensor]:
    """``state`` without the names that match a pattern."""
    left_out = matching_names(state, patterns)
    return {name: value for name, value in state.items() if name not in left_out}


def check_skipped_are_frozen(model: nn.Module, patterns: Sequence[str]) -> None:
    """Raises InputError if training would change a parameter that checkpoints leave out."""
    parameters = dict(model.named_parameters())
    trained = sorted(n for n in matching_names(parameters, patterns) if parameters[n].requires_grad)
    if trained:
        raise InputError(
            f"skip_saving_parameters {list(patterns)} would lose trained parameters: {trained[:5]} "
            f"({len(trained)} in all); freeze them (requires_grad_(False)) or save them"
        )


@contextmanager
def unchanged_parameters(
    model: nn.Module, patterns: Sequence[str], disabled: bool = False
) -> Iterator[None]:
    """Raises InputError if the block changes a parameter that matches a pattern."""
    names = set() if disabled else matching_names(model.state_dict(), patterns)
    before = {n: v.detach().clone() for n, v in model.state_dict().items() if n in names}
    yield
    after = model.state_dict()
    changed = sorted(n for n, v in before.items() if not torch.equal(v, after[n].to(v.device)))
    if changed:
        raise InputError(
            f"the weight initialiser changes {changed[:5]}, which skip_saving_parameters leaves "
            "out of checkpoints: a resumed run would not have these values. Set "
            "initialize_after_preemption=True, or save them"
        )


def load_model_state(
    model: nn.Module, state: Mapping[str, Any], may_miss: Sequence[str], source: str
) -> None:
    """Load the weights of a checkpoint.

    Args:
        may_miss: patterns of the names that need not be there.
        source: the file, for the message.

    Raises:
        CheckpointMismatchError: other names or shapes.
    """
    try:
        missing, unexpected = model.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:
        raise CheckpointMismatchError(
            f"{source} is of another model ({error}); use a new output folder"
        ) from error
    missing = sorted(set(missing) - matching_names(missing, may_miss))
    if missing or unexpected:
        raise CheckpointMismatchError(
            f"{source} is of another model: missing {missing[:5]}, unexpected "
            f"{sorted(unexpected)[:5]}; use a new output folder (checkpoint.save_dir)"
        )
