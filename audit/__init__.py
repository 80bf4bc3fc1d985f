"""The tamper-evident audit log: records, canonical form, hash chain, store and verification."""
