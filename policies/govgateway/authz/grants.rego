package govgateway.authz

# Least privilege: nothing is granted but what a role of the caller names. The roles arrive in the input, those
# that are granted for a time only while they last; the table of bindings is not read here.

granted if {
	count(granting_roles) > 0
	grantable
}

granting_roles contains name if {
	some name in input.principal.roles
	role := data.govgateway.roles[name]
	some permission in role.permissions
	input.action in permission.actions
	covers(permission)
	suits(role)
}

# A role that is meant for some kinds of principal grants nothing to the others.
suits(role) if {
	not role.kinds
} else if {
	input.principal.kind in role.kinds
}

# Whoever may list models at all may ask for the list; each entry is decided by itself.
covers(permission) if {
	some pattern in permission.resources
	glob.match(pattern, null, input.resource.id)
} else if {
	whole_listing
}

whole_listing if {
	input.action == "model.list"
	input.resource.id == ""
}

# A model counts only as part of an AI system of the register: one that the register does not know cannot be
# told from one that does not exist.
grantable if {
	registered_system
} else if {
	not startswith(input.action, "model.")
} else if {
	whole_listing
}

registered_system := data.govgateway.systems[input.resource.system]
