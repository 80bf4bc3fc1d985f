package govgateway.authz_test

administer := {
	"action": "admin.config.reload",
	"resource": {"type": "control-plane", "id": "/v1/reload", "system": "", "risk": "", "data_classes": []},
}

test_one_of_two_separated_duties_is_fine if {
	decide(object.union(administer, {"principal": {"roles": ["admin"]}})).allow
	decide(object.union(administer, {"principal": {"roles": ["admin", "reader"]}})).allow
}

test_holder_of_two_separated_duties_uses_neither if {
	both := {"principal": {"roles": ["admin", "inspector"]}}
	refused_only_for(decide(object.union(administer, both)), "duties_not_separated")
}

test_further_role_that_grants_the_call_does_not_mend_the_conflict if {
	three := {"principal": {"roles": ["admin", "deputy", "inspector"]}}
	refused_only_for(decide(object.union(administer, three)), "duties_not_separated")
}

test_what_the_conflict_has_nothing_to_do_with_stays_possible if {
	decide({"principal": {"roles": ["admin", "inspector", "reader"]}}).allow
}

test_holder_of_two_separated_duties_without_a_grant_learns_no_more if {
	refused_only_for(decide({"principal": {"roles": ["admin", "inspector"]}}), "model_not_granted")
}
