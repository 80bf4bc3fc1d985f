package govgateway.authz_test

test_bound_of_the_role_applies if {
	bounds(decide({})) == [1000]
}

test_most_generous_granting_role_applies if {
	bounds(decide({"principal": {"roles": ["reader", "writer"]}})) == [2000]
}

test_role_that_grants_nothing_here_adds_nothing if {
	bounds(decide({"principal": {"roles": ["reader", "writer"]}, "resource": {"id": "small-embed"}})) == [1000]
}

test_bound_of_the_system_applies_to_unbounded_roles if {
	bounds(decide({"principal": {"roles": ["reader", "tester"]}})) == [4000]
}

test_no_bound_no_clamp if {
	change := object.union(in_system("notes"), {"principal": {"roles": ["tester"]}})
	decision := decide(change)
	decision.allow
	bounds(decision) == []
}

bounds(decision) := [obligation.max_tokens |
	some obligation in decision.obligations
	obligation.type == "clamp_max_tokens"
]
