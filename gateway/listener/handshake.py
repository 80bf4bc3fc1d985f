"""Why a TLS handshake failed: OpenSSL's reason as one of our rules, with what to do about it."""

import ssl

_CERTIFICATE_RULES = {
    7: "certificate-signature",
    9: "certificate-not-yet-valid",
    10: "certificate-expired",
    18: "self-signed",
    19: "unknown-authority",
    2: "unknown-authority",
    20: "unknown-authority",
    21: "unknown-authority",
    22: "chain-too-long",
    24: "authority-not-a-ca",
    25: "path-length",
    26: "certificate-purpose",
    32: "authority-key-usage",
    66: "certificate-key-too-weak",
    67: "certificate-key-too-weak",
    68: "certificate-digest-too-weak",
}
"""X509_V_ERR_* codes (openssl/x509_vfy.h)."""

_REASON_RULES = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no-certificate",
    "UNSUPPORTED_PROTOCOL": "tls-version",
    "VERSION_TOO_LOW": "tls-version",
    "UNKNOWN_PROTOCOL": "tls-version",
    "HTTP_REQUEST": "not-tls",
    "HTTPS_PROXY_REQUEST": "not-tls",
    "WRONG_VERSION_NUMBER": "not-tls",
    "RECORD_LAYER_FAILURE": "not-tls",
    "PACKET_LENGTH_TOO_LONG": "not-tls",
    "NO_SHARED_CIPHER": "no-shared-cipher",
    "NO_SUITABLE_KEY_SHARE": "no-shared-group",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "no-shared-signature",
    "NO_SHARED_SIGNATURE_ALGORITHMS": "no-shared-signature",
    "BAD_SIGNATURE": "certificate-proof",
    "TLSV1_ALERT_UNKNOWN_CA": "refused-by-client",
    "SSLV3_ALERT_BAD_CERTIFICATE": "refused-by-client",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "refused-by-client",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "refused-by-client",
}

_REMEDIES = {
    "no-certificate": "present an X.509-SVID as client certificate",
    "certificate-expired": "fetch a new X.509-SVID",
    "certificate-not-yet-valid": "check the clocks of the caller and of the gateway",
    "self-signed": "use an X.509-SVID signed by a trust domain that this gateway knows",
    "unknown-authority": "use an X.509-SVID signed by a trust domain that this gateway knows, "
    "and send its intermediates",
    "certificate-purpose": "use an X.509-SVID with digitalSignature and, if it has extended key usages, clientAuth",
    "tls-version": "use TLS 1.3",
    "not-tls": "use https://",
    "refused-by-client": "give the caller the trust bundle of the gateway's trust domain",
}


def failure(error: OSError) -> tuple[str, str]:
    """Return the rule that a failed handshake broke, and a sentence with the cause and the remedy.

    A failure that has no rule of its own is `handshake-failed`, with OpenSSL's reason in the sentence.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        rule = _CERTIFICATE_RULES.get(error.verify_code, "certificate-invalid")
        cause = f"the client certificate was refused: {error.verify_message}"
    elif isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        rule = _REASON_RULES.get(reason, "handshake-failed")
        cause = f"the TLS handshake failed: {reason.replace('_', ' ').lower() or error}"
    else:
        rule, cause = "handshake-aborted", f"the TLS handshake was broken off: {error}"
    remedy = _REMEDIES.get(rule)
    return rule, f"{cause}; {remedy}" if remedy else cause
