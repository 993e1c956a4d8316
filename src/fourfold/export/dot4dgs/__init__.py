"""The container `.4dgs` of moving splats (avala-ai/4dgs), through its library `fourdgs`."""
