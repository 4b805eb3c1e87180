"""What computes a fused head: C++ kernels, Triton kernels, or PyTorch operations over tiles."""
