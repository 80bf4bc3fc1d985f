"""Policy decisions: engines, the decision cache and the loaded policy set."""
