"""The data-plane listener: mutual TLS 1.3, peer identity, strict HTTP/1.1, server lifecycle, workers."""
