"""``finetune``: teach a checkpoint a user's own categories."""

from __future__ import annotations

import argparse
import logging
import sys

from ..errors import CheckpointError, DeviceError, DownloadError, InputError, MissingDependencyError
from . import exit_codes, finetune_options
from .models import check_device

log = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> int:
    """Fine-tune and print what changed on the standard output.

    Args:
        arguments: from a parser with ``finetune_options.add_arguments``.

    Returns:
        An exit code of ``exit_codes``.
    """
    from ..checkpoint.catalog import default_folders
    from ..checkpoint.resolve import resolve_model
    from ..train.finetune.report import metric_rows
    from ..train.finetune.run import finetune

    try:
        checkpoint = resolve_model(arguments.checkpoint, default_folders())
        settings = finetune_options.read_settings(arguments, checkpoint)
        check_device(settings.device)
        result = finetune(settings, finetune_options.recipe_changes(arguments))
    except (InputError, MissingDependencyError, FloatingPointError) as error:
        log.error("%s", error)
        return exit_codes.USAGE
    except DeviceError as error:
        log.error("%s", error)
        return exit_codes.DEVICE
    except (CheckpointError, DownloadError) as error:
        log.error("The checkpoint %s cannot be fine-tuned: %s", arguments.checkpoint, error)
        return exit_codes.MODEL
    if not result.finished:
        log.error("interrupted after %d steps; go on with --resume", result.steps)
        return exit_codes.INTERRUPTED
    rows = [("validation", "before", "after"), *metric_rows(result.before, result.after)]
    sys.stdout.write("".join("\t".join(row) + "\n" for row in rows))
    sys.stdout.write(f"{result.model}\n")
    return exit_codes.OK
