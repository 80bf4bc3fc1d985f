package govgateway.authz_test

test_granted_call_is_allowed if {
	decision := decide({})
	decision.allow
	decision.reasons == []
}

test_empty_input_is_refused if {
	decision := data.govgateway.authz.decision with input as {}
	not decision.allow
}

test_caller_without_roles_is_refused if {
	refused_only_for(decide({"principal": {"roles": []}}), "model_not_granted")
}

test_unknown_role_grants_nothing if {
	refused_only_for(decide({"principal": {"roles": ["root"]}}), "model_not_granted")
}

test_role_grants_only_its_actions if {
	refused_only_for(decide({"action": "model.embed"}), "model_not_granted")
}

test_role_grants_only_its_resources if {
	refused_only_for(decide({"resource": {"id": "large-chat"}}), "model_not_granted")
}

test_pattern_covers_dots_and_slashes if {
	decide({"resource": {"id": "small-org/model.v2"}}).allow
}

test_unknown_and_ungranted_models_get_the_same_decision if {
	unknown := decide({"resource": {"id": "nothing", "system": "", "risk": "", "data_classes": []}})
	ungranted := decide({"resource": {"id": "large-chat"}})
	unknown_but_covered := decide({"resource": {"id": "small-nothing", "system": "", "risk": "", "data_classes": []}})
	unknown == ungranted
	unknown == unknown_but_covered
}

test_ungranted_model_of_a_prohibited_system_says_no_more if {
	change := {"resource": {"id": "large-chat", "system": "scoring", "risk": "prohibited", "data_classes": ["secret"]}}
	decide(change) == decide({"resource": {"id": "nothing", "system": "", "risk": "", "data_classes": []}})
}

test_inactive_agent_without_grant_learns_no_more if {
	decide({"principal": {"roles": [], "status": "suspended"}}) == decide({"principal": {"roles": []}})
}

test_whole_listing_needs_the_action_only if {
	listing := {"action": "model.list", "resource": {"id": "", "system": "", "risk": "", "data_classes": []}}
	decide(listing).allow
	not decide(object.union(listing, {"principal": {"roles": ["tester"]}})).allow
}

test_inference_on_no_model_is_refused if {
	refused_only_for(decide({"resource": {"id": ""}}), "model_not_granted")
}

test_administrator_may_administer if {
	decision := decide({
		"principal": {"roles": ["admin"]},
		"action": "admin.config.reload",
		"resource": {"type": "control-plane", "id": "/v1/reload", "system": "", "risk": "", "data_classes": []},
	})
	decision.allow
	decision.obligations == []
}

test_model_user_may_not_administer if {
	refused_only_for(
		decide({
			"action": "admin.config.reload",
			"resource": {"type": "control-plane", "id": "/v1/reload", "system": "", "risk": "", "data_classes": []},
		}),
		"action_not_granted",
	)
}

test_administrator_may_not_call_models if {
	refused_only_for(decide({"principal": {"roles": ["admin"]}}), "model_not_granted")
}

test_agent_that_is_not_active_is_refused if {
	every status in ["pending", "suspended", "quarantined", "retired", ""] {
		refused_only_for(decide({"principal": {"status": status}}), "agent_not_active")
	}
}

test_role_for_other_kinds_grants_nothing if {
	tool := {"action": "tool.call", "principal": {"roles": ["operator"]}, "resource": {"type": "tool"}}
	decide(tool).allow
	refused_only_for(decide(object.union(tool, {"principal": {"kind": "human"}})), "action_not_granted")
	refused_only_for(decide(object.union(tool, {"principal": {"kind": ""}})), "action_not_granted")
}
