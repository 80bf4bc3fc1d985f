"""govctl agent static-keys: reads configuration and inventory, leaves out what is revoked, and prints no secret."""

TD = "gateway.test"
AGENT = f"spiffe://{TD}/agent/reader"


def test_a_certificate_issued_by_hand_is_listed_until_it_is_revoked(govctl):
    govctl("agent", "register", AGENT, "--team", "t", "--owner", "ada@gateway.test", "--purpose", "a test")
    assert "Nothing rests on a static key." in govctl("agent", "static-keys").out
    issued = govctl("agent", "issue", AGENT, "--out", "svid", "--ttl", "86400", "--json").json
    report = govctl("agent", "static-keys", "--json").json
    assert [(each["finding"], each["subject"]) for each in report] == [("issued-by-hand", AGENT), ("long-lived", AGENT)]
    assert all(issued["serial"] in each["detail"] for each in report)
    assert "govctl entry create" in govctl("agent", "static-keys").out
    govctl("agent", "revoke", issued["serial"], "--reason", "a test")
    assert govctl("agent", "static-keys", "--json").json == []


def test_a_backend_credential_is_named_by_reference_and_never_read(govctl, monkeypatch):
    monkeypatch.setenv("BACKEND_KEY", "the-secret-itself")
    path = govctl.directory / "govgateway.yaml"
    path.write_text(
        path.read_text().replace("\nbackends:\n  - name:", "\nbackends:\n  - credential: env:BACKEND_KEY\n    name:")
    )
    told = govctl("agent", "static-keys").out
    assert "env:BACKEND_KEY" in told
    assert "the-secret-itself" not in told
