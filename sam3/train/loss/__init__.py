"""Losses: elementary functions, one file per loss module, the wrapper over all outputs."""
