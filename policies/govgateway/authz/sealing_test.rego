package govgateway.authz_test

test_content_is_kept_only_where_the_register_says_so if {
	cases(decide({})) == []
	cases(decide_with({}, kept(true))) == ["assistant"]
	cases(decide_with({}, kept(false))) == []
}

kept(wanted) := {"systems": {"assistant": {"seal_content": wanted}}}

cases(decision) := [obligation.case |
	some obligation in decision.obligations
	obligation.type == "log_content_sealed"
]
