"""Human oversight of calls: approvals that a policy asks for, and AI systems that a person stopped."""
