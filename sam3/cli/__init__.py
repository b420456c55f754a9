"""The command line: ``python -m sam3 segment``, ``track``, ``finetune`` and ``info``.

``options``   arguments of segment, checked        ``sources``   which pictures, output names
``segment``   the run over all pictures            ``pictures``  reading any kind of picture
``overlay``   drawing what was found               ``outputs``   writing files, records, resume
``info``      what a checkpoint file is            ``models``    weights and devices
``exit_codes``                                     ``interruption``  Ctrl-C at the right moment

``track_options``  arguments of track, checked     ``track_source``   the video and its frames
``track``          the run over one video          ``track_session``  prompts, order of frames
``track_journal``  finished frames on the disk     ``track_outputs``  label maps, the record
``track_overlay``  drawing on the video            ``video_writer``   MP4

``finetune_options``  arguments of finetune        ``finetune``       the run
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import InputError
from . import exit_codes, finetune_options, info, options, track_options

log = logging.getLogger(__name__)


def build_parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the whole command line, and those of its commands by name."""
    parser = argparse.ArgumentParser(
        prog="python -m sam3", description="Segment pictures and videos with SAM 3."
    )
    parser.add_argument("--version", action="version", version=f"sam3-segment {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    segment = commands.add_parser(
        "segment",
        help="find what a text says in pictures",
        description="Find what a text says in pictures and write cut-outs, masks and a record.",
        epilog=options.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_arguments(segment)
    track = commands.add_parser(
        "track",
        help="follow things through a video",
        description="Follow what a text, points or boxes mean through a video and write an "
        "overlay, masks and a record.",
        epilog=track_options.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    track_options.add_arguments(track)
    teach = commands.add_parser(
        "finetune",
        help="teach a model your own categories",
        description="Train a checkpoint further on labelled pictures (COCO) and write a new one.",
        epilog=finetune_options.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    finetune_options.add_arguments(teach)
    about = commands.add_parser(
        "info", help="tell what a checkpoint file is", description=info.DESCRIPTION
    )
    info.add_arguments(about)
    for command in (segment, track, teach, about):
        group = command.add_mutually_exclusive_group()
        group.add_argument("-v", "--verbose", action="store_true", help="more messages")
        group.add_argument("-q", "--quiet", action="store_true", help="errors only")
    return parser, {"segment": segment, "track": track, "finetune": teach, "info": about}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parsed arguments, with ``command``; options may stand anywhere between the pictures."""
    parser, commands = build_parsers()
    if not argv or argv[0] not in commands:
        return parser.parse_args(argv)  # help, version, or an error that lists the commands
    arguments = commands[argv[0]].parse_intermixed_args(argv[1:])
    arguments.command = argv[0]
    return arguments


def set_up_logging(verbose: bool, quiet: bool) -> None:
    """Messages of this package go to the standard error, one line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("sam3: %(levelname)s: %(message)s"))
    logger = logging.getLogger(__name__.split(".")[0])
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes them from ``sys.argv``.

    Returns:
        The exit code; wrong usage leaves through ``SystemExit(2)``, as argparse does.
    """
    arguments = parse(sys.argv[1:] if argv is None else argv)
    set_up_logging(arguments.verbose, arguments.quiet)
    try:
        if arguments.command == "info":
            return info.run(arguments)
        if arguments.command == "finetune":
            from . import finetune

            return finetune.run(arguments)
        if arguments.command == "track":
            from . import track

            return track.run(track_options.read_options(arguments))
        from . import segment

        return segment.run(options.read_options(arguments))
    except InputError as error:
        log.error("%s", error)
        return exit_codes.USAGE
    except KeyboardInterrupt:
        log.error("interrupted; what is finished is kept, go on with --resume")
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.OK
