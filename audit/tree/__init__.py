"""The Merkle tree over all chains of a log: which record is which leaf, and what was signed."""
