"""Attestation: what is known of a process or a node before it is given an identity."""
