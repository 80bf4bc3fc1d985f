"""SPIFFE identities: parsing, verification, the embedded authority and the registry of agents."""
