package govgateway.authz

# What a model may be used for, where the table of models names it: classes of data, AI systems, and (in
# region.rego) regions. A model that the table does not name is bound by its system and its data alone.

model_bounds := data.govgateway.models[input.resource.id] if startswith(input.action, "model.")

objections contains "model_not_for_data" if {
	allowed := model_bounds.data_classes
	some class in data_classes
	not class in allowed
}

objections contains "model_not_for_system" if {
	model_bounds.systems
	not served
}

served if input.resource.system in model_bounds.systems
