"""HashiCorp Vault and OpenBao: one client, its logins, and what its paths give."""
