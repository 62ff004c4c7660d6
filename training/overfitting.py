"""Catastrophic overfitting (Wong et al., ICLR 2020): a network learns to withstand the one step of its training attack,
and nothing else. Training itself cannot tell, so PGD on held-out images does."""

from __future__ import annotations

from collections.abc import Mapping

# A smaller fall, in points, may be chance, where little was withstood to begin with.
LEAST_FALL = 5


def overfits(now: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """Whether PGD's accuracy has fallen to less than half of its best while that under the training attack has risen.

    Both are epochs, as {'AdvA': % under PGD, 'accuracy_adv': share under the training attack}: this one, and that of
    the best AdvA so far, which is empty before there is one.
    """
    if not best:
        return False
    fallen = now["AdvA"] < min(best["AdvA"] / 2, best["AdvA"] - LEAST_FALL)
    return fallen and now["accuracy_adv"] > best["accuracy_adv"]


def overfitting_warning(epoch: int) -> str:
    return (
        f"catastrophic overfitting in epoch {epoch}: accuracy under the training attack, one step, rises while PGD's "
        "has fallen to less than half of its best; take a checkpoint of an epoch before, and train with "
        "--attack_mode pgd or a lower --learning_rate"
    )
