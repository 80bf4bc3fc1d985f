package govgateway.authz_test

test_prohibited_system_is_refused_to_everybody if {
	every tier in ["minimal", "limited", "high"] {
		change := object.union(in_system("scoring"), {"principal": {"risk_tier": tier, "roles": ["reader", "tester"]}})
		refused_only_for(decide(change), "system_prohibited")
	}
}

test_prohibited_counts_whoever_says_so if {
	said_by_the_input := object.union(in_system("assistant"), {"resource": {"risk": "prohibited"}})
	"system_prohibited" in decide(said_by_the_input).reasons
	said_by_the_register := object.union(in_system("scoring"), {"resource": {"risk": "minimal"}})
	"system_prohibited" in decide(said_by_the_register).reasons
}

test_declared_practice_is_prohibited_whatever_risk_is_declared if {
	every risk in ["minimal", "limited", "high"] {
		change := {"systems": {"assistant": {"risk": risk, "practices": ["social-scoring"]}}}
		"system_prohibited" in decide_with({}, change).reasons
	}
	decide_with({}, {"systems": {"assistant": {"practices": []}}}).allow
}

test_agent_stays_within_its_risk_tier if {
	refused_only_for(decide(in_system("triage")), "risk_tier_exceeded")
	refused_only_for(decide({"principal": {"risk_tier": "minimal"}}), "risk_tier_exceeded")
	decide(object.union(in_system("notes"), {"principal": {"risk_tier": "minimal"}})).allow
}

test_unknown_risk_or_tier_is_refused if {
	refused_only_for(decide({"principal": {"risk_tier": "any"}}), "risk_tier_exceeded")
	refused_only_for(decide({"resource": {"risk": "none"}}), "risk_tier_exceeded")
}

test_all_objections_are_given_in_order if {
	change := object.union(in_system("hiring"), {"principal": {"status": "suspended"}})
	decide(change).reasons == [
		"agent_not_active", "instructions_missing",
		"oversight_missing", "risk_tier_exceeded",
	]
}
