package govgateway.authz_test

test_an_answer_is_marked_only_where_the_register_says_that_article_50_concerns_the_system if {
	notices(decide({})) == 0
	notices(decide_with({}, concerned(true))) == 1
	notices(decide_with({}, concerned(false))) == 0
}

concerned(transparency) := {"systems": {"assistant": {"transparency": transparency}}}

notices(decision) := count([obligation |
	some obligation in decision.obligations
	obligation.type == "watermark_notice"
])
