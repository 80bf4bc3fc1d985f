"""The populations, by theme. Together they are `compliance.populations.registry.POPULATIONS`."""
