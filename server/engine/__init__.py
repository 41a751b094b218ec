"""The engine of one model: queue, admission, scheduler, batch and results. It uses `runtime` and `music` alone."""
