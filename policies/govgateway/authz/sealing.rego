package govgateway.authz

# Prompts and answers are kept, sealed, only of the systems whose entry in the register says so.

obligations contains {"type": "log_content_sealed", "case": input.resource.system} if {
	input.action in {"model.infer", "model.embed"}
	registered_system.seal_content
}
