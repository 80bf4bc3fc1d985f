package govgateway.authz_test

high_tier := {"principal": {"risk_tier": "high"}}

# The system `triage`, in which nothing is missing, changed.
triage_with(change) := decide_with(object.union(in_system("triage"), high_tier), {"systems": {"triage": change}})

triage_without(keys) := decide_in(
	object.union(in_system("triage"), high_tier),
	json.remove(tables, [concat("/", ["systems", "triage", key]) | some key in keys]),
)

test_high_risk_system_with_all_it_needs_is_allowed if {
	decide(object.union(in_system("triage"), high_tier)).allow
}

test_high_risk_without_overseer_is_refused if {
	refused_only_for(triage_with({"oversight": {"overseers": []}}), "oversight_missing")
	refused_only_for(triage_without(["oversight"]), "oversight_missing")
}

test_high_risk_with_nameless_overseer_is_refused if {
	refused_only_for(triage_with({"oversight": {"overseers": [""]}}), "oversight_missing")
}

test_high_risk_without_instructions_is_refused if {
	refused_only_for(triage_without(["instructions_for_use"]), "instructions_missing")
	refused_only_for(triage_with({"instructions_for_use": ""}), "instructions_missing")
}

test_public_deployer_assesses_the_impact_first if {
	area := {"annex_iii": "employment", "deployer": "public"}
	refused_only_for(triage_with(area), "fria_missing")
	refused_only_for(triage_with(object.union(area, {"fria": ""})), "fria_missing")
	triage_with(object.union(area, {"fria": "FRIA-7"})).allow
}

test_private_deployer_assesses_the_impact_where_the_area_says_so if {
	triage_with({"annex_iii": "employment", "deployer": "private"}).allow
	refused_only_for(triage_with({"annex_iii": "creditworthiness", "deployer": "private"}), "fria_missing")
	triage_with({"annex_iii": "critical-infrastructure", "deployer": "public"}).allow
}

test_impact_is_assessed_for_areas_of_annex_iii_only if {
	triage_with({"deployer": "public"}).allow
}

test_excepted_system_needs_no_assessment_even_if_it_is_declared_high if {
	change := {"annex_iii": "employment", "deployer": "public", "exception": narrow_task}
	triage_with(change).allow
}

test_area_of_annex_iii_makes_a_system_high_risk_whatever_it_declares if {
	change := {"risk": "limited", "annex_iii": "employment"}
	decision := decide_with(in_system("triage_declared_limited"), {"systems": {"triage_declared_limited": change}})
	decision.reasons == ["instructions_missing", "oversight_missing", "risk_tier_exceeded"]
}

test_exception_of_a_system_that_profiles_people_counts_for_nothing if {
	annexed := {"risk": "limited", "annex_iii": "employment", "exception": narrow_task}
	called := in_system("triage_declared_limited")
	decide_with(called, {"systems": {"triage_declared_limited": annexed}}).allow
	profiling := object.union(annexed, {"profiling": true})
	not decide_with(called, {"systems": {"triage_declared_limited": profiling}}).allow
	unassessed := object.union(annexed, {"exception": {"assessed_by": ""}})
	not decide_with(called, {"systems": {"triage_declared_limited": unassessed}}).allow
}

test_rule_that_the_company_does_not_enforce_objects_to_nothing if {
	every rule, change in {
		"oversight_missing": {"oversight": {"overseers": []}},
		"instructions_missing": {"instructions_for_use": ""},
		"fria_missing": {"annex_iii": "employment", "deployer": "public"},
	} {
		called := object.union(in_system("triage"), high_tier)
		written := {"systems": {"triage": change}}
		refused_only_for(decide_with(called, written), rule)
		off := {"ai_act": {"rules": {rule: {"enforce": false}}}}
		decide_with(called, object.union(written, off)).allow
	}
}

test_rules_that_the_table_does_not_name_are_enforced if {
	called := object.union(in_system("hiring"), high_tier)
	decide_in(called, json.remove(tables, ["ai_act/rules"])).reasons == ["instructions_missing", "oversight_missing"]
}

narrow_task := {"article": "6(3)", "reason": "sorts mail by address", "assessed_by": "grace@example.org"}
