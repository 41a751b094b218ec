"""The training loop: TBPTT batches, loader, learner, trainer, checkpoints, history, distributed processes."""
