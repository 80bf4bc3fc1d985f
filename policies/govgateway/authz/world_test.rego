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
		"break_glass": [],
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
	"deputy": {"permissions": [{"actions": ["admin.config.reload"], "resources": ["*"]}]},
	"inspector": {"permissions": [{"actions": ["admin.audit.read"], "resources": ["*"]}]},
	"operator": {"permissions": [{"actions": ["tool.call"], "resources": ["*"]}], "kinds": ["agent", "service"]},
}

separation := {"duties": [
	{"name": "inspection", "roles": ["admin", "inspector"], "why": "nobody inspects their own work"},
	{"name": "other", "roles": ["writer", "root"], "why": "another pair"},
]}

systems := {
	"assistant": {"risk": "limited", "data_classes": ["internal"], "max_output_tokens": 4000},
	"notes": {"risk": "minimal", "data_classes": []},
	"triage": {
		"risk": "high",
		"data_classes": [],
		"oversight": {"overseers": ["grace@example.org"]},
		"instructions_for_use": "IFU-3",
	},
	"triage_declared_limited": {"risk": "limited", "data_classes": []},
	"hiring": {"risk": "high", "data_classes": [], "oversight": {"overseers": []}},
	"scoring": {"risk": "prohibited", "data_classes": [], "oversight": {"overseers": ["grace@example.org"]}},
	"archive": {"risk": "limited", "data_classes": [], "regions": ["eu-north", "eu-west"]},
}

ai_act := {
	"annex_iii": {
		"employment": {"fria": "public"},
		"creditworthiness": {"fria": "always"},
		"critical-infrastructure": {"fria": "never"},
	},
	"rules": {
		"oversight_missing": {"enforce": true},
		"instructions_missing": {"enforce": true},
		"fria_missing": {"enforce": true},
	},
}

regions := {"data_classes": {
	"internal": {},
	"personal": {"regions": ["eu-central", "eu-west"]},
	"medical": {"regions": ["eu-central"]},
}}

tables := {
	"roles": roles,
	"separation": separation,
	"systems": systems,
	"regions": regions,
	"models": {},
	"ai_act": ai_act,
}

# The call, changed by a JSON merge of `change`, decided with the tables of this file,
decide(change) := decide_in(change, tables)

# with these tables, changed in the same way,
decide_with(change, written) := decide_in(change, object.union(tables, written))

# or with others.
decide_in(change, world) := decision if {
	decision := data.govgateway.authz.decision with input as object.union(call, change)
		with data.govgateway.roles as world.roles
		with data.govgateway.separation as world.separation
		with data.govgateway.systems as world.systems
		with data.govgateway.regions as world.regions
		with data.govgateway.models as world.models
		with data.govgateway.ai_act as world.ai_act
}

in_system(name) := {"resource": {"system": name, "risk": systems[name].risk, "data_classes": systems[name].data_classes}}

refused_only_for(decision, reason) if {
	not decision.allow
	decision.reasons == [reason]
}
