"""One file per wire protocol; `base` is the seam."""
