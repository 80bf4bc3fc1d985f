"""Time stamps made by OpenSSL as the authority, and ours verified by it."""

import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from audit.anchors.archive import TimestampArchive
from audit.anchors.checking import check_timestamps
from audit.anchors.errors import TimestampError
from audit.anchors.timestamps import TimestampAuthority, verify_timestamp
from tests.support.anchored_log import GrowingLog
from tests.support.answering_server import Answered, Asked, answering
from tests.support.certificates import CertificateAuthority
from tests.support.timestamp_authority import StampingAuthority, signer_certificate

pytestmark = pytest.mark.interop

NOW = int(time.time())


def openssl(*arguments: object, stdin: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0 or not check, done.stderr.decode()
    return done


class OpenSslAuthority:
    """`openssl ts` behind HTTP."""

    def __init__(self, directory: Path, *, digests: str = "sha256") -> None:
        directory.mkdir()
        self.directory = directory
        self.root = CertificateAuthority.root("stamps.test", now=NOW)
        certificate, key = signer_certificate(self.root, NOW)
        (directory / "root.pem").write_bytes(self.root.certificate.public_bytes(Encoding.PEM))
        (directory / "tsa.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (directory / "tsa.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (directory / "serial").write_text("01\n")
        (directory / "ts.cnf").write_text(
            f"""
            [tsa]
            default_tsa = tsa_config
            [tsa_config]
            serial = {directory}/serial
            crypto_device = builtin
            signer_cert = {directory}/tsa.pem
            signer_key = {directory}/tsa.key
            signer_digest = sha256
            default_policy = 1.3.6.1.4.1.99999.1
            digests = {digests}
            accuracy = secs:1, millisecs:500, microsecs:100
            ordering = yes
            tsa_name = yes
            ess_cert_id_chain = no
            ess_cert_id_alg = sha256
            """
        )

    def __call__(self, asked: Asked) -> Answered:
        query = self.directory / "query.tsq"
        query.write_bytes(asked.body)
        answer = self.directory / "answer.tsr"
        openssl("ts", "-reply", "-config", self.directory / "ts.cnf", "-queryfile", query, "-out", answer)
        return Answered(answer.read_bytes(), headers={"content-type": "application/timestamp-reply"})


def test_a_checkpoint_stamped_by_openssl_verifies_here_and_there(tmp_path):
    authority, log = OpenSslAuthority(tmp_path / "tsa"), GrowingLog(tmp_path / "tree")
    archive, roots = TimestampArchive(tmp_path / "timestamps"), [authority.root.certificate]
    with answering(authority) as server:
        client = TimestampAuthority(server.url, roots, timeout=30)
        for count in (3, 600):
            note = log.grow(count)
            archive.keep(note, client.stamp(note))
        client.close()
    stamp = verify_timestamp(next(archive.all()).response, next(archive.all()).note, roots)
    assert (stamp.serial, stamp.policy, stamp.accuracy_us) == (2, "1.3.6.1.4.1.99999.1", 1_500_100)
    assert abs(stamp.time_ns / 1e9 - time.time()) < 3600
    report = check_timestamps(archive, roots, log.keys, log.tree)
    assert (report.checkpoints, report.largest, report.passed_over) == (2, 603, [])
    for path in (tmp_path / "timestamps").glob("*.tsr"):
        data = path.with_suffix(".checkpoint")
        seen = openssl("ts", "-verify", "-data", data, "-in", path, "-CAfile", tmp_path / "tsa" / "root.pem")
        assert b"Verification: OK" in seen.stdout + seen.stderr


def test_what_openssl_rejects_is_refused_with_its_reason(tmp_path):
    authority = OpenSslAuthority(tmp_path / "tsa", digests="sha512")
    with answering(authority) as server:
        client = TimestampAuthority(server.url, [authority.root.certificate], timeout=30)
        with pytest.raises(TimestampError, match=r"not granted \(rejection\): .*algorithm is not supported"):
            client.stamp(b"note")
        client.close()


def test_an_answer_of_openssl_to_another_request_is_refused(tmp_path):
    authority, kept = OpenSslAuthority(tmp_path / "tsa"), []

    def replaying(asked: Asked) -> Answered:
        kept.append(authority(asked))
        return kept[0]

    with answering(replaying) as server:
        client = TimestampAuthority(server.url, [authority.root.certificate], timeout=30)
        client.stamp(b"note")
        with pytest.raises(TimestampError, match="Nonce"):
            client.stamp(b"note")
        with pytest.raises(TimestampError, match="of something else"):
            client.stamp(b"another note")
        client.close()


def test_openssl_agrees_with_the_authority_of_the_other_tests(tmp_path):
    root = CertificateAuthority.root("stamps.test", now=NOW)
    stranger = CertificateAuthority.root("stamps.test", now=NOW)
    ours = StampingAuthority(*signer_certificate(root, NOW), lambda: NOW)
    (tmp_path / "note").write_bytes(b"note")
    (tmp_path / "answer.tsr").write_bytes(ours.stamp(b"note"))
    for authority, good in ((root, True), (stranger, False)):
        (tmp_path / "root.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
        seen = openssl(
            "ts", "-verify", "-data", tmp_path / "note", "-in", tmp_path / "answer.tsr",
            "-CAfile", tmp_path / "root.pem", check=False,
        )  # fmt: skip
        assert (seen.returncode == 0) is good
