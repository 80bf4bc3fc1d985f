"""The gateways and bare proxies that are compared, one driver a file."""
