"""The verifier that stands alone: one file for a machine that never saw this product, copied beside each export."""
