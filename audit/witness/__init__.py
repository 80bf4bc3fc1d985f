"""Witnesses (C2SP tlog-witness): others who cosign a log's checkpoints, each only if it continues the one before."""
