"""Worker processes that run the video model together with the main one.

Every process builds the model and follows the same commands in the same order: ``("request", d)``,
``("open", stream, d)``, ``("step", stream)``, ``("close", stream)``, ``("shutdown",)``. What a
command computes is exchanged inside the model (``sam3.perflib.distributed``); only process 0 has
outputs. A stream is stepped command by command, so that streams can be interleaved and cancelled.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import InputError, Sam3Error, SessionError
from ...perflib.distributed import device_of_rank, join_group, leave_group

_log = logging.getLogger(__name__)

LOAD_TIMEOUT_SEC = 7200
POLL_SEC = 5.0
STOP_SEC = 30.0
BuildModel = Callable[..., Any]
Command = tuple[Any, ...]


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker needs to know; picklable. ``build(device=..., **keywords)`` makes the model."""

    rank: int
    world_size: int
    ordinal: int
    port: int
    parent_pid: int
    build: BuildModel
    keywords: dict[str, Any]
    predictor_keywords: dict[str, Any]


class WorkerPool:
    """The worker processes of ranks 1 and up, and this process as rank 0.

    ordinals: device numbers, one per process, this one's first. Construction builds the model here
    (``.model``) and then in every worker, and joins all of them to one group.

    Raises SessionError when a worker does not come up.
    """

    def __init__(
        self,
        ordinals: Sequence[int],
        build: BuildModel,
        keywords: dict[str, Any],
        predictor_keywords: dict[str, Any],
    ) -> None:
        if not ordinals or len(set(ordinals)) != len(ordinals):
            raise InputError(f"gpus_to_use needs different device numbers, got {list(ordinals)}")
        self.world_size = len(ordinals)
        self._environment = {k: os.environ.get(k) for k in _environment(0, 1, 0)}
        self._processes: list[Any] = []
        self._commands: list[Any] = []
        port = _free_port()
        if self.world_size > 1:
            os.environ.update(_environment(0, self.world_size, port))
        try:
            self.model = build(**_placed(keywords, ordinals[0], self.world_size))
            setups = [
                WorkerSetup(
                    rank,
                    self.world_size,
                    ordinal,
                    port,
                    os.getpid(),
                    build,
                    keywords,
                    predictor_keywords,
                )
                for rank, ordinal in enumerate(ordinals)
                if rank
            ]
            if setups:
                self._start(setups)
                join_group(device_of_rank(ordinals[0]))
        except BaseException:
            self.shutdown()
            raise

    def _start(self, setups: Sequence[WorkerSetup]) -> None:
        import multiprocessing

        context = multiprocessing.get_context("spawn")
        self._results = context.Queue()
        for setup in setups:
            commands = context.Queue()
            process = context.Process(
                target=worker_main, args=(setup, commands, self._results), daemon=True
            )
            process.start()
            self._processes.append(process)
            self._commands.append(commands)
        waited = 0.0
        ready = 0
        while ready < len(setups):
            try:
                self._results.get(timeout=POLL_SEC)
                ready += 1
            except queue.Empty:
                waited += POLL_SEC
                dead = [p.exitcode for p in self._processes if not p.is_alive()]
                if dead or waited > LOAD_TIMEOUT_SEC:
                    raise SessionError(
                        f"{len(setups) - ready} worker processes did not load the model (exit codes"
                        f" {dead}, waited {waited:.0f} s); see their log"
                    ) from None

    def send(self, *command: Any) -> None:
        """Give a command to every worker."""
        for commands in self._commands:
            commands.put(command)

    def shutdown(self) -> None:
        """Stop the workers and leave the group; does nothing the second time."""
        self.send("shutdown")
        leave_group(destroy=bool(self._processes))
        for process in self._processes:
            process.join(STOP_SEC)
            if process.is_alive():
                process.terminate()
        self._processes, self._commands = [], []
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._environment = {}


def worker_main(setup: WorkerSetup, commands: Any, results: Any) -> None:
    """Body of a worker process: build the model, join the group, follow the commands."""
    from ..sam3_video_predictor import Sam3VideoPredictor

    os.environ.update(_environment(setup.rank, setup.world_size, setup.port))
    device = device_of_rank(setup.ordinal)
    model = setup.build(**_placed(setup.keywords, setup.ordinal, setup.world_size))
    predictor = Sam3VideoPredictor(model=model, **setup.predictor_keywords)
    results.put(("load_model", os.getpid()))
    join_group(device)
    streams: dict[str, Iterator[Any]] = {}
    while True:
        try:
            command = commands.get(timeout=POLL_SEC)
        except queue.Empty:
            if not _is_alive(setup.parent_pid):
                return
            continue
        if command[0] == "shutdown":
            leave_group(destroy=True)
            return
        try:
            follow(predictor, streams, command)
        except Sam3Error:  # process 0 raises the same and tells the user
            _log.debug("command %s failed in process %d", command[0], setup.rank, exc_info=True)
        except Exception:
            _log.exception("command %s failed in process %d", command[0], setup.rank)


def follow(predictor: Any, streams: dict[str, Iterator[Any]], command: Command) -> None:
    """Carry out one command; outputs are None in a worker and are dropped."""
    kind = command[0]
    if kind == "request":
        try:
            predictor.handle_request(command[1])
        finally:
            predictor.model.collective.barrier()
    elif kind == "open":
        streams[command[1]] = predictor.handle_stream_request(command[2])
    elif kind == "step":
        next(streams[command[1]], None)
    elif kind == "close":
        stream: Any = streams.pop(command[1], None)
        if stream is not None:
            stream.close()
    else:
        raise ValueError(f"unknown command {kind!r}")


def _placed(keywords: dict[str, Any], ordinal: int, world_size: int) -> dict[str, Any]:
    """The builder's keywords with this process's device; alone without CUDA, the builder picks."""
    if "device" in keywords:
        if world_size > 1:
            raise InputError(
                "gpus_to_use chooses the devices of several processes; leave out device"
            )
        return keywords
    device = device_of_rank(ordinal)
    return keywords if world_size == 1 and device.type == "cpu" else {**keywords, "device": device}


def _environment(rank: int, world_size: int, port: int) -> dict[str, str]:
    return {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "IS_MAIN_PROCESS": "1" if rank == 0 else "0",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def _is_alive(pid: int) -> bool:
    """Whether the parent still runs: an orphan gets another parent."""
    return os.getppid() == pid
