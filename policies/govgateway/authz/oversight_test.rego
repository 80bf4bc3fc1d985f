package govgateway.authz_test

test_a_person_approves_only_where_the_register_says_so if {
	approvals(decide({})) == []
	approvals(decide_with({}, approved(["model.infer"]))) == [{"type": "require_approval"}]
	approvals(decide_with({}, approved(["model.embed"]))) == []
	approvals(decide_with({}, approved([]))) == []
}

test_the_terms_of_an_approval_are_those_of_the_register if {
	terms := {"valid_seconds": 600, "wait_seconds": 30, "four_eyes": true}
	world := {"systems": {"assistant": {"oversight": {"approval": ["model.infer"], "approval_terms": terms}}}}
	approvals(decide_with({}, world)) == [object.union({"type": "require_approval"}, terms)]
}

test_a_call_that_a_person_approves_is_granted_by_the_policies_all_the_same if {
	decision := decide_with({"principal": {"roles": []}}, approved(["model.infer"]))
	refused_only_for(decision, "model_not_granted")
	approvals(decision) == []
}

approved(actions) := {"systems": {"assistant": {"oversight": {"approval": actions}}}}

approvals(decision) := [obligation |
	some obligation in decision.obligations
	obligation.type == "require_approval"
]
