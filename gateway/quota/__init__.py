"""Quotas: limits, the ledger seam and its stores."""
