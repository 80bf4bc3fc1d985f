package govgateway.authz

# Separation of duties: whoever holds two roles that are kept apart uses neither, even where a third role grants
# the call as well. What both have nothing to do with stays possible, so that the conflict can be reported and
# mended. Roles of one subject are checked when the data are loaded; here, those that add up from a principal's
# id, team and kind.

objections contains "duties_not_separated" if {
	count(input.principal.roles) > 1
	some duties in data.govgateway.separation.duties
	held := {role | some role in duties.roles; role in input.principal.roles}
	count(held) > 1
	count(held & granting_roles) > 0
}
