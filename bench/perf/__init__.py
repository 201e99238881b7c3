"""What training costs: operations, throughput against a plain reference step, estimates."""
