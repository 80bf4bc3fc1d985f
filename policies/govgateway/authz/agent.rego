package govgateway.authz

objections contains "agent_not_active" if not input.principal.status == "active"
