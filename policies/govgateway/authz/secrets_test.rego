package govgateway.authz_test

test_credentials_that_no_entry_names_are_for_everybody if {
	shown_with([credential("small", "vault://secret/backends/other#key")], restricted).allow
	shown_with([credential("small", "vault://secret/backends/pay#key")], []).allow
}

test_a_restricted_credential_is_for_the_principals_named if {
	shown_with([credential("small", "vault://secret/backends/pay#key")], restricted).allow
	others := [object.union(restricted[0], {"principals": ["spiffe://example.org/agent/other"]})]
	refused_only_for(
		shown_with([credential("small", "vault://secret/backends/pay#key")], others),
		"secret_not_granted",
	)
}

test_a_restricted_credential_is_for_a_role_too if {
	by_role := [{"secrets": ["vault://secret/*"], "roles": ["reader"]}]
	shown_with([credential("small", "vault://secret/backends/pay#key")], by_role).allow
	by_another := [{"secrets": ["vault://secret/*"], "roles": ["writer"]}]
	refused_only_for(
		shown_with([credential("small", "vault://secret/backends/pay#key")], by_another),
		"secret_not_granted",
	)
}

test_backend_and_purpose_bind if {
	every change in [{"backends": ["another"]}, {"actions": ["model.embed"]}] {
		bound := [object.union(restricted[0], change)]
		refused_only_for(
			shown_with([credential("small", "vault://secret/backends/pay#key")], bound),
			"secret_not_granted",
		)
	}
	fitting := [object.union(restricted[0], {"backends": ["small"], "actions": ["model.infer"]})]
	shown_with([credential("small", "vault://secret/backends/pay#key")], fitting).allow
}

test_one_credential_of_several_that_is_not_granted_refuses if {
	pair := [credential("small", "vault://secret/backends/pay#key"), credential("large", "vault://secret/backends/top#key")]
	entries := array.concat(restricted, [{"secrets": ["vault://secret/backends/top#*"], "roles": ["writer"]}])
	refused_only_for(shown_with(pair, entries), "secret_not_granted")
}

test_an_entry_without_callers_fits_nobody if {
	refused_only_for(
		shown_with([credential("small", "vault://secret/backends/pay#key")], [{"secrets": ["vault://secret/*"]}]),
		"secret_not_granted",
	)
}

restricted := [{"secrets": ["vault://secret/backends/pay#*"], "principals": ["spiffe://example.org/agent/*"]}]

credential(backend, secret) := {"backend": backend, "secret": secret}

shown_with(credentials, entries) := decision if {
	decision := decide({"resource": {"credentials": credentials}}) with data.govgateway.secrets as {"restricted": entries}
}
