"""SAM3 Segment, a ComfyUI node pack: registration only."""

from __future__ import annotations

from .AILab_SAM3Segment import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from .nodes.host import register_model_folder

WEB_DIRECTORY = "./js"

# ComfyUI must know models/sam3 before a node is used: its model lists are built at start.
register_model_folder()

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
