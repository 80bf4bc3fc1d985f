package govgateway.authz

# The bound on output tokens: the system's, and that of the caller's most generous role. A role without
# a bound sets none.

obligations contains {"type": "clamp_max_tokens", "max_tokens": min(output_bounds)} if {
	input.action == "model.infer"
}

output_bounds contains registered_system.max_output_tokens

output_bounds contains max(bounds) if {
	bounds := [bound | some role in granting_roles; bound := data.govgateway.roles[role].max_output_tokens]
	count(bounds) == count(granting_roles)
}
