"""Catastrophic overfitting (Wong et al., ICLR 2020): a network learns to withstand the one step of its training attack,
and nothing else. Training itself cannot tell, so a stronger attack on held-out images does."""

from __future__ import annotations

from collections.abc import Mapping

from attacks.attack import Attack

# A smaller fall, in points, may be chance, where little was withstood to begin with.
LEAST_FALL = 5


def overfits(now: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """Whether accuracy under the judge has fallen to less than half of its best, and under the training attack risen.

    Both are epochs, as {'AdvA': % under the judge, 'accuracy_adv': share under the training attack}: this one, and
    that of the best AdvA so far, which is empty before there is one.
    """
    if not best:
        return False
    fallen = now["AdvA"] < min(best["AdvA"] / 2, best["AdvA"] - LEAST_FALL)
    return fallen and now["accuracy_adv"] > best["accuracy_adv"]


def overfitting_warning(epoch: int, judge: Attack) -> str:
    return (
        f"catastrophic overfitting in epoch {epoch}: accuracy under the training attack, one step, rises while that "
        f"under {judge.title} has fallen to less than half of its best; take a checkpoint of an epoch before, and "
        f"train with --attack_mode {judge.name} or a lower --learning_rate"
    )
