"""The device kernels of the Triton rasterizer: what `kernels/*.cpp` does, for GPUs. Imported only where Triton is installed."""
