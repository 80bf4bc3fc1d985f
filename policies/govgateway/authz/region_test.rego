package govgateway.authz_test

test_unbound_data_goes_anywhere if {
	every region in ["", "us-east"] {
		decision := decide({"resource": {"region": region}})
		decision.allow
		count(routes(decision)) == 0
	}
}

test_bound_data_stays_in_its_regions if {
	personal := {"data_classes": ["personal"]}
	decide({"resource": {"region": "eu-west"}, "request": personal}).allow
	refused_only_for(decide({"resource": {"region": "us-east"}, "request": personal}), "region_not_allowed")
}

test_class_of_the_resource_binds_too if {
	refused_only_for(decide({"resource": {"region": "us-east", "data_classes": ["personal"]}}), "region_not_allowed")
}

test_regions_of_the_system_bind if {
	archive := in_system("archive")
	decide(object.union(archive, {"resource": {"region": "eu-north"}})).allow
	refused_only_for(decide(object.union(archive, {"resource": {"region": "us-east"}})), "region_not_allowed")
}

test_resource_in_several_regions_is_routed_to_the_own_region if {
	routes(decide({"request": {"data_classes": ["personal"]}})) == {"eu-west"}
}

test_resource_in_several_regions_is_routed_to_an_allowed_region if {
	routes(decide({"request": {"data_classes": ["medical"]}})) == {"eu-central"}
	routes(decide({"request": {"data_classes": ["medical", "personal"]}})) == {"eu-central"}
}

test_bounds_without_a_common_region_refuse if {
	change := object.union(in_system("archive"), {"request": {"data_classes": ["medical"]}})
	refused_only_for(decide(change), "region_not_allowed")
}

test_unknown_class_of_data_goes_nowhere if {
	refused_only_for(decide({"request": {"data_classes": ["secret"]}}), "data_class_unknown")
}

routes(decision) := {obligation.region |
	some obligation in decision.obligations
	obligation.type == "route_region"
}
