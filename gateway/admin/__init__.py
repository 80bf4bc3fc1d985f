"""The control plane: a FastAPI application on a listener of its own, governed by Rego and audited."""
