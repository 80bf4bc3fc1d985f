"""Transparency logs in the forms of C2SP: signed notes, checkpoints, tiles and proofs, that other tools verify."""
