"""Experiments by name: configurations of the package, and a user's own files built on them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError, MissingDependencyError
from .resolvers import register_omegaconf_resolvers

if TYPE_CHECKING:
    from importlib.abc import Traversable

    from omegaconf import DictConfig

CONFIG_MODULE = "sam3.train"
FOLDER = "configs"
SUFFIX = ".yaml"


def known_configs() -> list[str]:
    """Names of the package's experiments, like ``configs/eval_base.yaml``, in order."""
    return sorted(_below(files(CONFIG_MODULE).joinpath(FOLDER), FOLDER))


def _below(folder: Traversable, prefix: str) -> list[str]:
    names: list[str] = []
    for item in folder.iterdir():
        path = f"{prefix}/{item.name}"
        if item.is_dir():
            names += _below(item, path)
        elif item.name.endswith(SUFFIX):
            names.append(path)
    return names


def full_config_name(name: str) -> str:
    """The name of an experiment with the folder and the suffix that may be left out.

    ``eval_base``, ``configs/eval_base`` and ``configs/eval_base.yaml`` are the same.

    Raises InputError for an unknown one; the message names those that look alike.
    """
    known = known_configs()
    full = name.replace("\\", "/").removeprefix("./")
    full = full if full.startswith(f"{FOLDER}/") else f"{FOLDER}/{full}"
    full = full if full.endswith(SUFFIX) else full + SUFFIX
    if full in known:
        return full
    alike = difflib.get_close_matches(full, known, n=5, cutoff=0.5) or known
    raise InputError(
        f"there is no configuration {name!r}, neither in the package nor as a file; "
        f"did you mean one of {', '.join(alike)}?"
    )


def compose_config(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration of an experiment, with its interpolations in place.

    Args:
        name: of an experiment of the package (see :func:`full_config_name`), or the path of a YAML
            file, whose ``defaults`` may name the package's (``/configs/eval_base``).
        overrides: values to change, in Hydra's language: ``paths.bpe_path=/data/bpe.txt.gz``.

    Raises:
        InputError: an unknown name, or a configuration that Hydra cannot compose.
        MissingDependencyError: Hydra is not installed.
    """
    register_omegaconf_resolvers()
    try:
        from hydra import compose, initialize_config_dir, initialize_config_module
        from hydra.errors import HydraException
    except ImportError as error:
        raise MissingDependencyError("configurations need Hydra: pip install hydra-core") from error
    own = Path(name)
    changes = list(overrides)
    start: Callable[..., AbstractContextManager[Any]]
    if own.is_file():
        start, place, name = initialize_config_dir, str(own.parent.resolve()), own.name
        changes.append(f"hydra.searchpath=[pkg://{CONFIG_MODULE}]")
    else:
        start, place, name = initialize_config_module, CONFIG_MODULE, full_config_name(name)
    try:
        with start(place, version_base="1.2"):
            return compose(config_name=name, overrides=changes)
    except HydraException as error:
        raise InputError(f"{name} cannot be composed: {error}") from error
