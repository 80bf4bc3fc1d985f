package govgateway.authz

# Rules on the risk class of an AI system, after the classes of Regulation (EU) 2024/1689.

# Article 5: a prohibited practice stays refused, whoever asks and whatever a role grants.
objections contains "system_prohibited" if "prohibited" in system_risks

# An agent reaches systems up to the risk tier it was registered for.
objections contains "risk_tier_exceeded" if {
	rank := {"minimal": 0, "limited": 1, "high": 2}
	reached := {risk | some risk in system_risks; rank[risk] <= rank[input.principal.risk_tier]}
	reached != system_risks
	not "prohibited" in system_risks
}

# What the input says, what the register says, and what follows from what else the register says of the
# system; where they differ, all count.
system_risks contains input.resource.risk if input.resource.risk != ""

system_risks contains registered_system.risk

system_risks contains "prohibited" if registered_system.practices[0]

system_risks contains "high" if {
	registered_system.annex_iii
	not excepted
}

# Article 6(3): somebody assessed that a system of an area of Annex III poses no significant risk. Never where it
# profiles people.
excepted if {
	registered_system.exception.reason != ""
	registered_system.exception.assessed_by != ""
	not registered_system.profiling
}
