"""Envoy's configuration for the sidecar and for the bare proxy, as plain data."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.pki import Credentials

TYPE = "type.googleapis.com/envoy.extensions"
MANY = 100_000

Json = dict[str, Any]


def bootstrap(listeners: Sequence[Json], clusters: Sequence[Json], path: Path) -> Path:
    """Write a bootstrap file without an admin listener and return its path."""
    resources = {"listeners": list(listeners), "clusters": list(clusters)}
    path.write_text(json.dumps({"static_resources": resources}, indent=1))
    return path


def command(binary: Path, config: Path, concurrency: int) -> list[str]:
    """Return the command line that runs Envoy on the configuration."""
    return [
        str(binary),
        "--config-path",
        str(config),
        "--concurrency",
        str(concurrency),
        "--disable-hot-restart",
        "--log-level",
        "error",
    ]


def listener(name: str, port: int, headers: Mapping[str, str] | None = None, tls: Credentials | None = None) -> Json:
    """Return an HTTP/1.1 listener on loopback that sends everything to the cluster of the same name.

    Args:
        name: name of the listener and of its cluster.
        port: TCP port.
        headers: headers added to every request.
        tls: credentials for mutual TLS 1.3 with clients; None for plain HTTP.
    """
    manager = {
        "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "HTTP1",
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "skip_xff_append": True,
        "stream_idle_timeout": "0s",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": name,
                    "domains": ["*"],
                    "request_headers_to_add": [
                        {
                            "header": {"key": key, "value": value},
                            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                        }
                        for key, value in (headers or {}).items()
                    ],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{TYPE}.filters.http.router.v3.Router",
                    "dynamic_stats": False,
                    "suppress_envoy_headers": True,
                },
            }
        ],
    }
    chain: Json = {"filters": [{"name": "http", "typed_config": manager}]}
    if tls is not None:
        chain["transport_socket"] = {
            "name": "tls",
            "typed_config": {
                "@type": f"{TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": True,
                "common_tls_context": _tls(tls),
            },
        }
    return {"name": name, "address": _address(port), "filter_chains": [chain]}


def cluster(name: str, ports: Sequence[int], tls: Credentials | None = None) -> Json:
    """Return a cluster of servers on loopback, used in turn over kept-alive HTTP/1.1."""
    result: Json = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": MANY,
                    "max_pending_requests": MANY,
                    "max_requests": MANY,
                }
            ]
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}} for port in ports]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPE}.upstreams.http.v3.HttpProtocolOptions",
                # Shorter than any server's own idle time, so that no request meets a closing connection.
                "common_http_protocol_options": {"idle_timeout": "3s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }
    if tls is not None:
        result["transport_socket"] = {
            "name": "tls",
            "typed_config": {
                "@type": f"{TYPE}.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": "localhost",
                "common_tls_context": _tls(tls),
            },
        }
    return result


def _address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _tls(credentials: Credentials) -> Json:
    return {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(credentials.certificate)},
                "private_key": {"filename": str(credentials.key)},
            }
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(credentials.authorities)},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": credentials.peer}}],
        },
    }
