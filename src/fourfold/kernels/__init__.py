"""Compiled CPU kernels behind a plain C interface, and the loader that chooses one."""
