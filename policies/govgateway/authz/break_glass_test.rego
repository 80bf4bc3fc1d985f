package govgateway.authz_test

test_call_granted_by_break_glass_alone_says_so if {
	decision := decide({"principal": {"break_glass": ["reader"]}})
	decision.allow
	decision.reasons == ["break_glass"]
	decision.cache_seconds < 60
}

test_call_that_an_ordinary_role_grants_as_well_is_ordinary if {
	decision := decide({"principal": {"roles": ["reader", "writer"], "break_glass": ["reader"]}})
	decision.allow
	decision.reasons == []
	decision.cache_seconds == 300
}

test_break_glass_role_that_grants_nothing_here_is_not_named if {
	decide({"principal": {"roles": ["admin", "reader"], "break_glass": ["admin"]}}).reasons == []
}

test_role_is_held_only_if_it_is_among_the_roles if {
	refused_only_for(decide({"principal": {"roles": [], "break_glass": ["reader"]}}), "model_not_granted")
}

test_objections_hold_against_break_glass if {
	change := object.union(in_system("scoring"), {"principal": {"break_glass": ["reader"], "risk_tier": "high"}})
	refused_only_for(decide(change), "system_prohibited")
}

test_input_without_the_list_is_decided_as_an_ordinary_one if {
	recorded := json.remove(call, ["principal/break_glass"])
	decision := data.govgateway.authz.decision with input as recorded
		with data.govgateway.roles as roles
		with data.govgateway.systems as systems
		with data.govgateway.regions as regions
	decision.allow
	decision.reasons == []
}
