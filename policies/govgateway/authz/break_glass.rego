package govgateway.authz

# Break-glass: a role given for an emergency, for hours and with a reason. It grants as any role does, and every
# objection holds against it; the decision says so where nothing else grants the call.

remarks contains "break_glass" if {
	count(input.principal.break_glass) > 0
	every role in granting_roles {
		role in input.principal.break_glass
	}
}
