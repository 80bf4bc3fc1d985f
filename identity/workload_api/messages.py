"""The protobuf messages on the socket, by name and number of their fields.

Workload API: SPIFFE Workload API specification, appendix A. Envoy: the part of its v3 API that secret discovery needs.
The descriptors live in a pool of their own: other libraries in the same process register messages of the same names.
"""

from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, message_factory, struct_pb2
from google.protobuf.descriptor_pool import DescriptorPool

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {"string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES, "int32": _Field.TYPE_INT32}

Message = Any
"""A protobuf message; its classes are made when this module is loaded, so no checker knows them."""

_pool = DescriptorPool()


def _file(name: str, package: str, *messages: descriptor_pb2.DescriptorProto, needs: tuple[str, ...] = ()) -> None:
    _pool.Add(
        descriptor_pb2.FileDescriptorProto(
            name=name, package=package, syntax="proto3", dependency=needs, message_type=messages
        )
    )


def _message(name: str, *fields: str, nested: tuple[descriptor_pb2.DescriptorProto, ...] = ()) -> Any:
    """Build a message from fields written `1 name type`, with `*` before a type that is repeated."""
    message = descriptor_pb2.DescriptorProto(name=name, nested_type=nested)
    for text in fields:
        number, field_name, kind = text.split()
        field = message.field.add(name=field_name, number=int(number))
        field.label = _Field.LABEL_REPEATED if kind.startswith("*") else _Field.LABEL_OPTIONAL
        kind = kind.removeprefix("*")
        if kind in _TYPES:
            field.type = _TYPES[kind]
        else:
            field.type, field.type_name = _Field.TYPE_MESSAGE, kind
    return message


def _map(name: str) -> Any:
    """Build the entry of a map from string to bytes."""
    entry = _message(name, "1 key string", "2 value bytes")
    entry.options.map_entry = True
    return entry


_STRUCT, _ANY = struct_pb2.DESCRIPTOR, any_pb2.DESCRIPTOR
_pool.AddSerializedFile(_STRUCT.serialized_pb)
_pool.AddSerializedFile(_ANY.serialized_pb)

_file(
    "workload.proto",
    "",
    _message("X509SVIDRequest"),
    _message(
        "X509SVIDResponse",
        "1 svids *.X509SVID",
        "2 crl *bytes",
        "3 federated_bundles *.X509SVIDResponse.FederatedBundlesEntry",
        nested=(_map("FederatedBundlesEntry"),),
    ),
    _message(
        "X509SVID",
        "1 spiffe_id string",
        "2 x509_svid bytes",
        "3 x509_svid_key bytes",
        "4 bundle bytes",
        "5 hint string",
    ),
    _message("X509BundlesRequest"),
    _message(
        "X509BundlesResponse",
        "1 crl *bytes",
        "2 bundles *.X509BundlesResponse.BundlesEntry",
        nested=(_map("BundlesEntry"),),
    ),
    _message("JWTSVIDRequest", "1 audience *string", "2 spiffe_id string"),
    _message("JWTSVIDResponse", "1 svids *.JWTSVID"),
    _message("JWTSVID", "1 spiffe_id string", "2 svid string", "3 hint string"),
    _message("JWTBundlesRequest"),
    _message("JWTBundlesResponse", "1 bundles *.JWTBundlesResponse.BundlesEntry", nested=(_map("BundlesEntry"),)),
    _message("ValidateJWTSVIDRequest", "1 audience string", "2 svid string"),
    _message("ValidateJWTSVIDResponse", "1 spiffe_id string", "2 claims .google.protobuf.Struct"),
    needs=(_STRUCT.name,),
)
_file(
    "status.proto",
    "google.rpc",
    _message("Status", "1 code int32", "2 message string", "3 details *.google.protobuf.Any"),
    needs=(_ANY.name,),
)
_file(
    "core.proto",
    "envoy.config.core.v3",
    _message("Node", "1 id string", "2 cluster string"),
    _message("DataSource", "2 inline_bytes bytes"),
    _message("TypedExtensionConfig", "1 name string", "2 typed_config .google.protobuf.Any"),
    needs=(_ANY.name,),
)
_file(
    "discovery.proto",
    "envoy.service.discovery.v3",
    _message(
        "DiscoveryRequest",
        "1 version_info string",
        "2 node .envoy.config.core.v3.Node",
        "3 resource_names *string",
        "4 type_url string",
        "5 response_nonce string",
        "6 error_detail .google.rpc.Status",
    ),
    _message(
        "DiscoveryResponse",
        "1 version_info string",
        "2 resources *.google.protobuf.Any",
        "4 type_url string",
        "5 nonce string",
    ),
    needs=("core.proto", "status.proto", _ANY.name),
)
_TLS = "envoy.extensions.transport_sockets.tls.v3"
_file(
    "tls.proto",
    _TLS,
    _message(
        "Secret",
        "1 name string",
        f"2 tls_certificate .{_TLS}.TlsCertificate",
        f"4 validation_context .{_TLS}.CertificateValidationContext",
    ),
    _message(
        "TlsCertificate",
        "1 certificate_chain .envoy.config.core.v3.DataSource",
        "2 private_key .envoy.config.core.v3.DataSource",
    ),
    _message(
        "CertificateValidationContext",
        "1 trusted_ca .envoy.config.core.v3.DataSource",
        "12 custom_validator_config .envoy.config.core.v3.TypedExtensionConfig",
    ),
    _message(
        "SPIFFECertValidatorConfig",
        f"1 trust_domains *.{_TLS}.SPIFFECertValidatorConfig.TrustDomain",
        nested=(_message("TrustDomain", "1 name string", "2 trust_bundle .envoy.config.core.v3.DataSource"),),
    ),
    needs=("core.proto",),
)


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(name))


X509SVIDRequest = _class("X509SVIDRequest")
X509SVIDResponse = _class("X509SVIDResponse")
X509BundlesRequest = _class("X509BundlesRequest")
X509BundlesResponse = _class("X509BundlesResponse")
JWTSVIDRequest = _class("JWTSVIDRequest")
JWTSVIDResponse = _class("JWTSVIDResponse")
JWTBundlesRequest = _class("JWTBundlesRequest")
JWTBundlesResponse = _class("JWTBundlesResponse")
ValidateJWTSVIDRequest = _class("ValidateJWTSVIDRequest")
ValidateJWTSVIDResponse = _class("ValidateJWTSVIDResponse")
DiscoveryRequest = _class("envoy.service.discovery.v3.DiscoveryRequest")
DiscoveryResponse = _class("envoy.service.discovery.v3.DiscoveryResponse")
Secret = _class(f"{_TLS}.Secret")
SPIFFECertValidatorConfig = _class(f"{_TLS}.SPIFFECertValidatorConfig")

SECRET_TYPE = f"type.googleapis.com/{_TLS}.Secret"
VALIDATOR_TYPE = f"type.googleapis.com/{_TLS}.SPIFFECertValidatorConfig"
