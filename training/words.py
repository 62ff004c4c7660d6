"""What a training run says to people: what it will do, and, when it is done, where that lies and what is next."""

from __future__ import annotations

from attacks.attack import AttackSettings
from formats.measured import AttackRecord
from helper.processes import Processes, device_in_words
from helper.text import count
from masks.counting import relu_totals
from models.layers import Network
from models.own import model_words
from reporting.comparability import attack_in_words
from reporting.next_steps import command, evaluation_command
from training.data import Loaders
from training.plan import Plan
from training.run_folder import RunFolder

STAGES = ("teacher", "stage 1, mask search", "stage 2, fine-tuning")


def opening(plan: Plan, loaders: Loaders, student: Network, processes: Processes) -> str:
    """One line: network, data, branches, views, budget, epochs, device."""
    batches, selection = loaders.train.batch_sampler, loaders.selection.batch_sampler
    where = "held-out" if plan.images.select_on == "heldout" else "test"
    total = relu_totals(student)[1]
    kept = sum(plan.distillation.budget.layers) if plan.distillation else total
    branches = plan.network.branches
    parts = [
        f"{STAGES[plan.stage]}: {plan.model} on {plan.data.name}",
        f"{batches.num_samples:,} images to train on, {selection.num_samples:,} {where} ones to judge by",
        count(branches, "batch-norm branch"),
        f"views {', '.join(map(plan_view(plan.attack), plan.objective.views))}",
        f"{kept:,} of {total:,} ReLUs" if kept < total else f"all {total:,} ReLUs",
        *([f"{100 * sparsity.density:g} % of the weights"] if (sparsity := plan.optimisation.sparsity) else []),
        f"{count(plan.optimisation.epochs, 'epoch')} of {count(batches.total, 'batch')} of {batches.batch_size} images",
        f"{device_in_words(processes)}, {'float32' if plan.acceleration.amp == 'none' else plan.acceleration.amp}",
    ]
    return "; ".join(parts)


def plan_view(attack: AttackSettings | None):
    """View -> its name, with the attack that makes it."""
    return lambda view: (
        f"adv ({attack_in_words(AttackRecord.model_validate(attack.record()))})" if view == "adv" and attack else view
    )


def closing(plan: Plan, run: RunFolder, best: str) -> str:
    """Where everything lies, and what to type next. `best`: the file of the first selected checkpoint."""
    common = model_words(plan.model) + [
        word
        for name, default in (("data_root", "data"), ("save_dir", "save"))
        if plan.record[name] != default
        for word in (f"--{name}", plan.record[name])
    ]
    mode = ["--robust_train_mode", str(plan.record["robust_train_mode"]) if plan.stage else "rslad+ce"]
    mode = mode if plan.attack else []
    if plan.stage == 0:
        script, options = "train_student_stage1_multigpu.py", ["--path_t", best, "--relu_budget", "15%", *mode]
    elif plan.stage == 1:
        script = "train_student_stage2_multigpu.py"
        options = ["--path_t", str(plan.origin.teacher_file), "--path_s_load", best, "--dense", *mode]
    else:
        return f"written to {run.path}\nnext: {evaluation_command(best, common)}"
    return f"written to {run.path}\nnext: {command(script, *options, *common)}"
