"""What a reader must know of measured costs before comparing them with others, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from formats.private_costs import LinkRecord, MeasuredCosts, PrivateCosts
from helper.text import count
from private_inference.costs.link import speed_in_words
from private_inference.costs.tables import all_costs


def sentences(results: PrivateCosts) -> list[str]:
    """What a reader must know before comparing the figures with others."""
    engine, machine, every = results.engine, results.machine, results.measured
    found = []
    if engine.dealer:
        found.append(
            f"A trusted dealer made the triples ({engine.protocol}), so all figures are the online cost only; the "
            "offline phase is not measured. The dealer is part of the client's process here: for measuring, not for "
            "keeping weights from a curious client."
        )
    setup = sorted(measured.setup_seconds or 0.0 for measured in every)
    spread = f"{setup[0]:.1f}" if setup[0] == setup[-1] else f"{setup[0]:.1f} to {setup[-1]:.1f}"
    before = f"What comes before the first image (connecting, compiling), {spread} s, is in neither."
    if all_costs(results)[1] == "warm":
        batch = engine.batch
        first = "first image" if batch == 1 else f"first batch of {batch} (an image, but all of the set-up)"
        found.append(
            f"Cold is the {first}, which includes what the parties set up once; warm is the mean over "
            f"the {count((results.images or batch) - batch, 'image')} after it. {before}"
        )
    else:
        found.append(
            f"Only one {'image' if engine.batch == 1 else 'batch'} was run, so all figures are cold: they "
            "include what the parties set up once. " + before.replace("in neither", "not in them")
        )
    found.append(
        "Bytes and rounds are exact; seconds vary from run to run on a shared machine "
        f"({machine.processor}, {machine.cores} cores; {count(engine.threads, 'thread')} a party). "
        "Correlations for comparisons are made ahead, in bursts: a burst's bytes are a row of their own where another "
        "image shows what the layer takes without it, else its layer's; its seconds are the layer's."
    )
    found.append(f"Seconds were measured over {link_in_words(results.link)}.")
    found.append(fused_in_words(every))
    return [*found, *comparison_sentences(every), *other_classes(every), *relu_sentences(results)]


def comparison_sentences(every: Sequence[MeasuredCosts]) -> list[str]:
    """In how many bits secure comparisons were made, and where not in 32; nothing of files that do not say so."""
    compared = {measured.label: measured.comparison for measured in every if measured.comparison}
    if not compared:
        return []
    if not any(32 in layers.values() for layers in compared.values()):
        return ["All secure comparisons were made in 64 bits."]
    words = "Secure comparisons were made in 32 bits"
    wide = {label: [layer for layer, bits in layers.items() if bits == 64] for label, layers in compared.items()}
    if not any(wide.values()):
        return [f"{words}: on images tried in the clear, no layer's values came near the bound of 8,192."]
    listed = "; ".join(f"{label}: {', '.join(layers)}" for label, layers in wide.items() if layers)
    return [f"{words}, but in 64 where values came near the bound of 8,192 or were not tried: {listed}."]


def other_classes(every: Sequence[MeasuredCosts]) -> list[str]:
    """Images whose class was not PyTorch's, and by how much PyTorch's first class led its second."""
    return [
        f"{measured.label}: another class than PyTorch's for image {other.image}, whose two best logits are "
        f"{other.margin:.1e} apart."
        for measured in every
        for other in (measured.agreement.other_class if measured.agreement else ())
    ]


def fused_in_words(every: Sequence[MeasuredCosts]) -> str:
    if any(measured.fused is None for measured in every):
        return "Linear layers were left as they are (--no_fuse)."
    fused = {measured.label: "; ".join(measured.fused or ()) for measured in every}
    if not any(fused.values()):
        return "No linear layers were fused: nowhere would one in the place of two have been exact and cheaper."
    if len(set(fused.values())) == 1:
        return f"Linear layers made one: {next(iter(fused.values()))}."
    return "Linear layers made one: " + ". ".join(f"{label}: {words or 'none'}" for label, words in fused.items()) + "."


def relu_sentences(results: PrivateCosts) -> list[str]:
    """What fewer ReLUs save, and what one costs."""
    costs, state = all_costs(results)
    rows = [
        (measured.relus.kept, cost.part("relu", state).bytes, cost.total(state).bytes, measured)
        for measured, cost in zip(results.measured, costs, strict=True)
    ]
    found = []
    most, fewest = max(rows, key=lambda row: row[0]), min(rows, key=lambda row: row[0])
    if most[0] > fewest[0]:
        relus, relu_bytes, bytes_in_all = (ratio_in_words(a, b) for a, b in zip(most[:3], fewest[:3], strict=True))
        (old, network), (new, other) = ((row.label, (row.dataset, row.relus.total)) for row in (most[3], fewest[3]))
        unlike = "" if network == other else "; they are different networks, so the ReLUs are not all that differs"
        found.append(
            f"{new} against {old}: {relus} ReLUs, {relu_bytes} ReLU bytes, {bytes_in_all} bytes in all{unlike}."
        )
    each = sorted(relu_bytes / kept for kept, relu_bytes, *_ in rows if kept)
    if each and each[0] == each[-1]:
        found.append(f"ReLU bytes per kept ReLU: {each[0]:.1f}" + (", the same in all." if len(each) > 1 else "."))
    elif each:
        apart = 100 * (each[-1] / each[0] - 1)
        found.append(f"ReLU bytes per kept ReLU: {each[0]:.1f} to {each[-1]:.1f}, {apart:.1f} % apart at most.")
    return found


def ratio_in_words(before: float, after: float) -> str:
    """'1.3 times fewer', 'as many' where that rounds to one, 'no' where nothing is left."""
    if not after or not before:
        return "as many" if before == after else "no" if before else "more"
    ratio = before / after
    if 1 / 1.05 < ratio < 1.05:
        return "about as many"
    return f"{ratio:.1f} times fewer" if ratio > 1 else f"{1 / ratio:.1f} times more"


def link_in_words(link: LinkRecord) -> str:
    """'loopback (both parties on one machine)'; 'an emulated link, wan (100 Mbit/s, 40 ms round trip)'."""
    if link.kind == "loopback":
        return "loopback (both parties on one machine)"
    if link.kind == "own_machine":
        return "loopback (each party started by itself, both on this machine)"
    words = {"emulated": "an emulated link", "network": "a network between the parties"}[link.kind]
    speed = speed_in_words(link.bandwidth, link.rtt)
    return words + (f", {link.name}" if link.name else "") + (f" ({speed})" if speed else "")
