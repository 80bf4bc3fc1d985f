package govgateway.authz

# Where data may be processed. A system, a model and each class of data may name the regions they are bound to;
# without such a list they are bound to none.

data_classes contains class if some class in input.resource.data_classes

data_classes contains class if some class in input.request.data_classes

region_lists contains registered_system.regions

region_lists contains model_bounds.regions

region_lists contains regions if {
	classes := data.govgateway.regions.data_classes
	some class in data_classes
	regions := classes[class].regions
}

allowed_regions contains region if {
	some regions in region_lists
	some region in regions
	every other in region_lists {
		region in other
	}
}

objections contains "data_class_unknown" if {
	some class in data_classes
	not data.govgateway.regions.data_classes[class]
}

objections contains "region_not_allowed" if {
	count(region_lists) > 0
	not region_possible
}

# The backends of the resource are all in one region,
region_possible if input.resource.region in allowed_regions

# or in several: then the gateway is told which one to use.
region_possible if {
	input.resource.region == ""
	count(allowed_regions) > 0
}

obligations contains {"type": "route_region", "region": chosen_region} if {
	count(region_lists) > 0
	input.resource.region == ""
}

chosen_region := input.context.region if {
	input.context.region in allowed_regions
} else := min(allowed_regions)
