package govgateway.authz

# A call is forwarded with a credential of the gateway. One that the table of secrets names is for those alone that
# an entry of it fits: the caller, the backend and the purpose, which is the action.

restricted_credentials contains credential if {
	some credential in input.resource.credentials
	some entry in data.govgateway.secrets.restricted
	names(entry, credential)
}

objections contains "secret_not_granted" if {
	some credential in restricted_credentials
	not may_use(credential)
}

may_use(credential) if {
	some entry in data.govgateway.secrets.restricted
	names(entry, credential)
	fits_caller(entry)
	fits_backend(entry, credential)
	fits_purpose(entry)
}

names(entry, credential) if {
	some pattern in entry.secrets
	glob.match(pattern, null, credential.secret)
}

# An entry that names neither callers nor roles fits nobody.
fits_caller(entry) if {
	some pattern in entry.principals
	glob.match(pattern, null, input.principal.id)
} else if {
	some role in entry.roles
	role in input.principal.roles
}

fits_backend(entry, credential) if {
	not entry.backends
} else if {
	credential.backend in entry.backends
}

fits_purpose(entry) if {
	not entry.actions
} else if {
	input.action in entry.actions
}
