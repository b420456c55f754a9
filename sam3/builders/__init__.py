"""Parts of ``model_builder``: configuration to modules, one model per file."""
