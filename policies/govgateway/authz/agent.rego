package govgateway.authz

objections contains "agent_not_active" if not agent_active

agent_active if input.principal.status == "active"
