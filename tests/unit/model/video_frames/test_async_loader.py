"""Reading ahead: first frame first, order, bounded memory, errors of the thread, an orderly end."""

from __future__ import annotations

import gc
import pickle
import threading
import time

import pytest
import torch

from sam3.errors import FrameIndexError, VideoError
from sam3.model.io_utils import load_resource_as_video_frames
from sam3.model.utils.sam2_utils import AsyncVideoFrameLoader, load_video_frames
from tests.support.clips import numbered_frames

CPU = torch.device("cpu")


class Source:
    """Frame i is full of i; frames in ``broken`` cannot be read; reads are written down."""

    name = "the test video"
    height, width = 10, 20
    dtype = torch.float32

    def __init__(self, count: int = 40, broken: tuple[int, ...] = ()) -> None:
        self.count, self.broken = count, set(broken)
        self.reads: list[tuple[int, str]] = []
        self.closed = False

    def __len__(self) -> int:
        return self.count

    def read(self, index: int, device: torch.device) -> torch.Tensor:
        self.reads.append((index, threading.current_thread().name))
        if index in self.broken:
            raise OSError(f"cannot decode {index}")
        return torch.full((3, 2, 2), float(index), device=device)

    def close(self) -> None:
        self.closed = True


def wait_for(condition) -> None:
    """Give the thread up to ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "the background thread did not get there"
        time.sleep(0.005)


def threads() -> int:
    return sum(thread.name == "sam3-frames" for thread in threading.enumerate())


def test_first_frame_at_once_and_the_rest_in_the_background():
    source = Source()
    loader = AsyncVideoFrameLoader(source, read_ahead=100)
    assert source.reads[0] == (0, threading.current_thread().name)
    wait_for(lambda: len(source.reads) == 40)
    assert source.reads[1:] == [(i, "sam3-frames") for i in range(1, 40)]
    assert [float(loader[i].mean()) for i in (0, 39, 20)] == [0, 39, 20]
    assert len(source.reads) == 40
    loader.close()


def test_it_keeps_only_what_lies_ahead():
    source = Source()
    loader = AsyncVideoFrameLoader(source, read_ahead=5)
    wait_for(lambda: len(source.reads) == 6)
    time.sleep(0.05)
    assert len(source.reads) == 6
    for index in range(40):
        assert float(loader[index].mean()) == index
        assert len(loader._shared.frames) <= 7
    assert [index for index, _ in source.reads] == list(range(40))
    loader.close()


def test_it_turns_round_when_read_backwards():
    source = Source()
    loader = AsyncVideoFrameLoader(source, read_ahead=4)
    assert [float(loader[i].mean()) for i in (30, 29)] == [30, 29]
    wait_for(lambda: {28, 27, 26, 25} <= set(loader._shared.frames))
    assert [float(loader[i].mean()) for i in range(28, -1, -1)] == list(range(28, -1, -1))
    loader.close()


def test_an_error_in_the_thread_is_told_for_its_frame_only():
    source = Source(broken=(3,))
    loader = AsyncVideoFrameLoader(source, read_ahead=100)
    wait_for(lambda: len(source.reads) == 40)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="frame 3 of the test .*cannot decode 3") as info:
            loader[3]
        assert isinstance(info.value, VideoError) and isinstance(info.value.__cause__, OSError)
    assert float(loader[4].mean()) == 4
    source.broken.clear()
    assert float(loader[3].mean()) == 3
    loader.close()


def test_a_broken_first_frame_fails_at_once():
    before = threads()
    with pytest.raises(OSError, match="cannot decode 0"):
        AsyncVideoFrameLoader(Source(broken=(0,)))
    assert threads() == before


def test_bad_index():
    loader = AsyncVideoFrameLoader(Source(5))
    assert len(loader) == 5 and float(loader[-1].mean()) == 4
    with pytest.raises(FrameIndexError, match="0 to 4"):
        loader[5]
    loader.close()


def test_closing_ends_the_thread_and_reading_starts_it_again():
    before = threads()
    source = Source()
    loader = AsyncVideoFrameLoader(source)
    loader.close()
    assert threads() == before and source.closed and not loader._shared.frames
    assert float(loader[7].mean()) == 7
    loader.close()
    assert threads() == before


def test_a_forgotten_loader_takes_its_thread_along():
    before = threads()
    loader = AsyncVideoFrameLoader(Source())
    assert threads() == before + 1
    del loader
    gc.collect()
    wait_for(lambda: threads() <= before)


def test_closing_wakes_a_reader():
    source = Source()
    gate = threading.Event()
    original = source.read
    loader = AsyncVideoFrameLoader(source, read_ahead=0)
    source.read = lambda index, device: gate.wait(10) and original(index, device)
    answer: list[BaseException] = []

    def reader() -> None:
        try:
            loader[9]
        except VideoError as error:
            answer.append(error)

    thread = threading.Thread(target=reader)
    thread.start()
    wait_for(lambda: loader._shared.wanted == 9)
    closer = threading.Thread(target=loader.close)
    closer.start()
    thread.join(10)
    gate.set()
    closer.join(10)
    assert len(answer) == 1 and "closed" in str(answer[0]) and not closer.is_alive()


def test_many_readers():
    loader = AsyncVideoFrameLoader(Source(200), read_ahead=3)
    wrong: list[int] = []

    def reader(start: int) -> None:
        for index in range(start, 200, 7):
            if float(loader.read(index, CPU).mean()) != index:
                wrong.append(index)

    readers = [threading.Thread(target=reader, args=(start,)) for start in range(5)]
    for thread in readers:
        thread.start()
    for thread in readers:
        thread.join(30)
    assert not wrong and not any(thread.is_alive() for thread in readers)
    loader.close()


def test_a_copy_by_pickle_reads_alike():
    loader = AsyncVideoFrameLoader(Source())
    copy = pickle.loads(pickle.dumps(loader))
    assert float(copy[12].mean()) == 12 and (copy.height, copy.width) == (10, 20)
    copy.close()
    loader.close()


@pytest.mark.parametrize("load_frames", [load_resource_as_video_frames, load_video_frames])
def test_the_loaders_option(load_frames):
    plain, _, _ = load_frames(numbered_frames(6), 14)
    ahead, height, width = load_frames(numbered_frames(6), 14, async_loading_frames=True)
    assert (height, width) == (48, 64) and isinstance(ahead.source, AsyncVideoFrameLoader)
    assert torch.equal(plain[:], ahead[:]) and plain.dtype == ahead.dtype
    ahead.close()
