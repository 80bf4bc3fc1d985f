"""The SPIFFE Workload API and Envoy's secret discovery service on a Unix socket."""
