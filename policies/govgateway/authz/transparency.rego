package govgateway.authz

# Article 50: what a system makes that the Article concerns is marked as made by AI, so that whoever passes it on to
# people can tell them.

obligations contains {"type": "watermark_notice"} if {
	input.action in {"model.infer", "model.embed"}
	registered_system.transparency
}
