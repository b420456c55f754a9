"""Front door of what the entry point and the trainer use."""

from __future__ import annotations

from .resolvers import register_omegaconf_resolvers

__all__ = ["register_omegaconf_resolvers"]
