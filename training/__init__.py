"""How a network is trained: the plan, the step, the epoch, the loop over epochs."""
