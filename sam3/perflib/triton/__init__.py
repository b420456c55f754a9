"""Triton kernels. Importing this package imports no Triton: the kernels are built on first use."""
