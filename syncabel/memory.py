"""The most memory that was held at a time."""

import sys

__all__ = ["peak_memory_bytes"]


def peak_memory_bytes(device: str = "cpu") -> int | None:
    """Most memory held at a time, in bytes.

    Args:
        device: of torch; on "cuda" what torch held there counts, elsewhere this process's resident memory.

    Returns:
        The figure, or None where the system does not say (Windows).
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:
        return None
    # Kilobytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
