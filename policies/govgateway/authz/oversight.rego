package govgateway.authz

# A person approves each call of the actions that the system's entry in the register names (Article 14). Its terms
# are passed on as they are written; the gateway has a default for each.

obligations contains object.union({"type": "require_approval"}, approval_terms) if {
	input.action in registered_system.oversight.approval
}

default approval_terms := {}

approval_terms := registered_system.oversight.approval_terms
