package govgateway.authz

# Rules on the risk class of an AI system, after the classes of Regulation (EU) 2024/1689.

risk_rank := {"minimal": 0, "limited": 1, "high": 2}

# Article 5: a prohibited practice stays refused, whoever asks and whatever a role grants.
objections contains "system_prohibited" if "prohibited" in system_risks

# Article 14: a high-risk system is used only while somebody is assigned to oversee it.
objections contains "oversight_missing" if {
	"high" in system_risks
	not overseen
}

overseen if {
	some overseer in registered_system.oversight.overseers
	overseer != ""
}

# An agent reaches systems up to the risk tier it was registered for.
objections contains "risk_tier_exceeded" if {
	not "prohibited" in system_risks
	not within_risk_tier
}

within_risk_tier if {
	every risk in system_risks {
		risk_rank[risk] <= risk_rank[input.principal.risk_tier]
	}
}

# What the input says and what the register says; where they differ, both count.
system_risks contains registered_system.risk

system_risks contains input.resource.risk if input.resource.risk != ""
