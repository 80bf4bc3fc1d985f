"""The verifier of evidence that stands alone: one file for a machine that never saw this product, in every package."""
