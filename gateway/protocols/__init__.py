"""One package per wire protocol; `base` is the seam."""
