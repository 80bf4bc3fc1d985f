package govgateway.authz

# What a high-risk system is not used without. The company decides in the table `ai_act` whether each rule is
# enforced; a rule that the table does not name is.

objections contains code if {
	"high" in system_risks
	some code in lacking
	not data.govgateway.ai_act.rules[code].enforce == false
}

# Articles 14 and 26(2): somebody is assigned to oversee the system.
lacking contains "oversight_missing" if not overseen

overseen if {
	some overseer in registered_system.oversight.overseers
	overseer != ""
}

# Article 26(1): a deployer uses the system according to its instructions, so they are at hand.
lacking contains "instructions_missing" if not instructed

instructed if registered_system.instructions_for_use != ""

# Article 27: some deployers assess the impact on fundamental rights before they use a system of Annex III.
lacking contains "fria_missing" if {
	fria_required
	not excepted
	not impact_assessed
}

impact_assessed if registered_system.fria != ""

fria_required if {
	registered_system.deployer == "public"
	fria_of_area != "never"
}

fria_required if fria_of_area == "always"

fria_of_area := data.govgateway.ai_act.annex_iii[registered_system.annex_iii].fria
