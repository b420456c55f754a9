"""The host's services: folders, devices, memory, progress, cancelling.

The only file that imports ComfyUI (``folder_paths``, ``comfy``), inside the functions, so that
everything else can be read, imported and tested without it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from ..sam3.errors import DeviceError, InputError

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

MODEL_FOLDER = "sam3"
DEVICE_CHOICES = ("Auto", "CPU", "GPU")


def register_model_folder() -> None:
    """Make ``models/sam3`` known to ComfyUI; folders from ``extra_model_paths.yaml`` stay first."""
    import folder_paths

    path = os.path.join(folder_paths.models_dir, MODEL_FOLDER)
    folder_paths.add_model_folder_path(MODEL_FOLDER, path)


def model_folders() -> list[str]:
    """Folders with weights, in the order they are searched; downloads go to the first."""
    import folder_paths

    register_model_folder()
    return [
        *folder_paths.get_folder_paths(MODEL_FOLDER),
        *folder_paths.get_folder_paths("checkpoints"),
    ]


def model_files(folder_name: str) -> list[str]:
    """Names of all files below the folders of one kind, relative to them."""
    import folder_paths

    register_model_folder()
    return list(folder_paths.get_filename_list(folder_name))


def pick_device(choice: str) -> torch.device:
    """The device a menu entry means.

    Args:
        choice: ``Auto`` is the device ComfyUI works on, ``CPU`` the processor, ``GPU`` the device
            ComfyUI works on if it is one.

    Raises:
        InputError: another word.
        DeviceError: ``GPU``, but ComfyUI has none.
    """
    import comfy.model_management as management

    if choice not in DEVICE_CHOICES:
        raise InputError(f"Unknown device {choice!r}. Allowed: {', '.join(DEVICE_CHOICES)}.")
    if choice == "CPU":
        return torch.device("cpu")
    device = management.get_torch_device()
    if choice == "GPU" and getattr(device, "type", str(device)) == "cpu":
        raise DeviceError(
            "The device is set to GPU, but ComfyUI has none: it runs on the CPU (no supported GPU, "
            "a CPU-only PyTorch, or started with --cpu). Set the device to Auto or CPU."
        )
    return device


def pick_precision(device: torch.device) -> str:
    """``bf16``, ``fp16`` or ``fp32`` by ComfyUI's rules for a GPU; ``auto`` on the CPU."""
    import comfy.model_management as management

    if device.type == "cpu":
        return "auto"
    if management.should_use_bf16(device):
        return "bf16"
    return "fp16" if management.should_use_fp16(device) else "fp32"


def intermediate_device() -> torch.device:
    """Where pictures and masks wait between nodes."""
    import comfy.model_management as management

    return management.intermediate_device()


def stop_if_cancelled() -> None:
    """Raise ComfyUI's ``InterruptProcessingException`` when the user pressed Cancel."""
    import comfy.model_management as management

    management.throw_exception_if_processing_interrupted()


def progress_bar(total: int) -> Any:
    """ComfyUI's progress bar: ``update(n)`` and ``update_absolute(value, total)``."""
    import comfy.utils

    return comfy.utils.ProgressBar(total)


def wrap_model(module: torch.nn.Module, device: torch.device) -> ModelPatcher:
    """Put a module under ComfyUI's memory management; it stays where it is until it is loaded."""
    import comfy.model_management as management
    import comfy.model_patcher

    offload = torch.device("cpu") if device.type == "cpu" else management.unet_offload_device()
    return comfy.model_patcher.ModelPatcher(module, load_device=device, offload_device=offload)


def load_model(patcher: ModelPatcher, memory_required: float) -> None:
    """Bring a model to its device, making room first.

    Args:
        patcher: from ``wrap_model``.
        memory_required: bytes the run needs besides the weights.
    """
    import comfy.model_management as management

    management.load_models_gpu([patcher], memory_required=memory_required, force_full_load=True)
    # With --novram the host loads no more than it must; these modules cannot run half loaded.
    if any(p.device != patcher.load_device for p in patcher.model.parameters()):
        patcher.model.to(patcher.load_device)


def unload_model(patcher: ModelPatcher) -> None:
    """Take one model off its device and out of the host's list; other models stay."""
    import comfy.model_management as management

    others = [m for m in management.current_loaded_models if m.model is not patcher]
    management.free_memory(1e30, patcher.load_device, keep_loaded=others)


def release_memory() -> None:
    """Give cached device memory back to the system."""
    import comfy.model_management as management

    management.soft_empty_cache()
