# METADATA
# title: The decision
# description: |
#   One decision per call. A call passes only if one of the caller's roles grants it and no rule objects.
#   Without a grant the answer is always the same, whatever else is wrong with the call: a caller learns
#   nothing about models it may not use, not even whether they exist.
#   An allowed call may carry remarks, which change nothing and are recorded with it.
# entrypoint: true
package govgateway.authz

default decision := {
	"allow": false,
	"reasons": ["default_deny"],
	"obligations": [],
	"cache_seconds": 0,
}

decision := deny([not_granted]) if {
	not granted
} else := deny(sort(objections)) if {
	count(objections) > 0
} else := {
	"allow": true,
	"reasons": sort(remarks),
	"obligations": sort(obligations),
	"cache_seconds": 10,
} if {
	count(remarks) > 0
} else := {
	"allow": true,
	"reasons": [],
	"obligations": sort(obligations),
	"cache_seconds": 300,
}

deny(reasons) := {
	"allow": false,
	"reasons": reasons,
	"obligations": [],
	"cache_seconds": 60,
}

default not_granted := "action_not_granted"

not_granted := "model_not_granted" if startswith(input.action, "model.")
