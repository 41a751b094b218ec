"""Several replicas behind a name or a proxy: throughput, skew after one joins, rollouts and crashes under load."""
