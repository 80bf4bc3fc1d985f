package govgateway.authz

# Least privilege: nothing is granted but what a role of the caller names. The roles arrive in the input;
# the table of bindings is not read here.

granted if {
	count(granting_roles) > 0
	grantable
}

granting_roles contains role if {
	some role in input.principal.roles
	some permission in data.govgateway.roles[role].permissions
	input.action in permission.actions
	covers(permission)
}

covers(permission) if {
	some pattern in permission.resources
	glob.match(pattern, null, input.resource.id)
}

# Whoever may list models at all may ask for the list; each entry is decided by itself.
covers(_) if whole_listing

whole_listing if {
	input.action == "model.list"
	input.resource.id == ""
}

# A model counts only as part of an AI system of the register: one that the register does not know cannot be
# told from one that does not exist.
grantable if registered_system

grantable if whole_listing

grantable if not startswith(input.action, "model.")

registered_system := data.govgateway.systems[input.resource.system]
