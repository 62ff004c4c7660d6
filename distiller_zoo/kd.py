"""Distilling the knowledge in a neural network: Hinton, Vinyals, Dean, NIPS workshop 2014 (arXiv 1503.02531)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from distiller_zoo.loss import Loss, Output
from distiller_zoo.modes import Term


def kl_divergence(logits: Tensor, target_logits: Tensor, temperature: float) -> Tensor:
    """T^2 * sum_c softmax(t/T) log(softmax(t/T) / softmax(s/T)) for every image: (B, classes) twice -> (B,).

    Its mean over the batch is KL(s, t) of the method.
    """
    log_p = F.log_softmax(logits / temperature, dim=1)
    log_q = F.log_softmax(target_logits / temperature, dim=1)
    return F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(1) * temperature**2


class Divergence(Loss[Output]):
    name = "kl"
    summary = "the divergence from the target's softened probabilities"

    def compare(self, term: Term, output: Output, target: Output) -> Tensor:
        return kl_divergence(output.logits, target.logits, term.temperature).mean()


ENTRY = Divergence()
