# The world the tests beside this file play in: tables of their own, and one call that is allowed.
package govgateway.authz_test

call := {
	"principal": {
		"id": "spiffe://example.org/agent/reader",
		"kind": "agent",
		"team": "research",
		"owner": "ada@example.org",
		"status": "active",
		"risk_tier": "limited",
		"roles": ["reader"],
		"delegation": [],
		"attributes": {},
	},
	"action": "model.infer",
	"resource": {
		"type": "model",
		"id": "small-chat",
		"system": "assistant",
		"risk": "limited",
		"region": "",
		"data_classes": ["internal"],
	},
	"request": {"protocol": "openai", "stream": false, "max_tokens": 0, "tools": [], "data_classes": []},
	"context": {"region": "eu-west", "environment": "test"},
}

roles := {
	"reader": {
		"permissions": [{"actions": ["model.infer", "model.list"], "resources": ["small-*"]}],
		"max_output_tokens": 1000,
	},
	"writer": {
		"permissions": [{"actions": ["model.infer"], "resources": ["small-chat"]}],
		"max_output_tokens": 2000,
	},
	"tester": {"permissions": [{"actions": ["model.infer"], "resources": ["*"]}]},
	"admin": {"permissions": [{"actions": ["admin.config.reload"], "resources": ["*"]}]},
}

systems := {
	"assistant": {"risk": "limited", "data_classes": ["internal"], "max_output_tokens": 4000},
	"notes": {"risk": "minimal", "data_classes": []},
	"triage": {"risk": "high", "data_classes": [], "oversight": {"overseers": ["grace@example.org"]}},
	"hiring": {"risk": "high", "data_classes": [], "oversight": {"overseers": []}},
	"vacant": {"risk": "high", "data_classes": [], "oversight": {"overseers": [""]}},
	"scoring": {"risk": "prohibited", "data_classes": [], "oversight": {"overseers": ["grace@example.org"]}},
	"archive": {"risk": "limited", "data_classes": [], "regions": ["eu-north", "eu-west"]},
}

regions := {"data_classes": {
	"internal": {},
	"personal": {"regions": ["eu-central", "eu-west"]},
	"medical": {"regions": ["eu-central"]},
}}

# The call, changed by a JSON merge of `change`, decided with the tables of this file.
decide(change) := decision if {
	decision := data.govgateway.authz.decision with input as object.union(call, change)
		with data.govgateway.roles as roles
		with data.govgateway.systems as systems
		with data.govgateway.regions as regions
}

in_system(name) := {"resource": {"system": name, "risk": systems[name].risk, "data_classes": systems[name].data_classes}}

refused_only_for(decision, reason) if {
	not decision.allow
	decision.reasons == [reason]
}
