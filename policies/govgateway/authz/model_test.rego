package govgateway.authz_test

test_model_takes_only_the_data_it_is_listed_for if {
	bounds := {"models": {"small-chat": {"data_classes": ["internal"]}}}
	decide_with({}, bounds).allow
	refused_only_for(decide_with({"request": {"data_classes": ["personal"]}}, bounds), "model_not_for_data")
}

test_model_serves_only_the_systems_it_is_listed_for if {
	bounds := {"models": {"small-chat": {"systems": ["notes"]}}}
	refused_only_for(decide_with({}, bounds), "model_not_for_system")
	decide_with(in_system("notes"), bounds).allow
}

test_model_stays_in_the_regions_it_is_listed_for if {
	bounds := {"models": {"small-chat": {"regions": ["eu-north"]}}}
	routes(decide_with({}, bounds)) == {"eu-north"}
	refused_only_for(decide_with({"resource": {"region": "us-east"}}, bounds), "region_not_allowed")
	refused_only_for(decide_with({"request": {"data_classes": ["medical"]}}, bounds), "region_not_allowed")
}

test_bounds_of_a_model_bind_no_other if {
	decide_with({"resource": {"id": "small-other"}}, {"models": {"small-chat": {"systems": ["notes"]}}}).allow
}

test_bounds_of_a_model_do_not_bind_a_tool_of_its_name if {
	decide_with(
		{"action": "tool.call", "principal": {"roles": ["operator"]}, "resource": {"type": "tool"}},
		{"models": {"small-chat": {"systems": ["notes"]}}},
	).allow
}
