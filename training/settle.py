"""From options to a plan: every `auto` decided, every default filled in, every contradiction an error."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from types import MappingProxyType

import torch

from dataset import dataset_spec
from dataset.options import data_settings
from distiller_zoo.loss import losses
from helper.errors import UserError
from helper.files import file_digest, real_path
from helper.processes import Processes, on_main_process, restarts
from helper.run_folder import default_folder, plain_arguments, run_folder, runs_folder
from helper.text import count
from masks.options import SearchPlan, settle_search
from models import architecture_of, build_model
from models.branches import branch_count, check_branches
from models.layers import Network
from training.acceleration import Acceleration, choose_amp, choose_compile, timed_precision
from training.data import choose_data_on
from training.naming import checkpoint_stem, student_run, student_tag, teacher_run
from training.objective import Objective, parse_objective
from training.options import evaluation_attack, loss_weights, optimisation, training_attack
from training.origin import Origin, check_answers, find_origin, share_out
from training.plan import Budget, Distillation, Optimisation, Plan, RunIdentity, model_spec
from training.run_folder import Beginning, beginning_of, check_resumed
from training.seconds_options import settle_seconds
from training.sparse_momentum import Sparsity
from training.sparse_options import recorded_weights, settle_sparsity

INPUTS = ("path_t", "path_s_load", "mask_from")  # options that name a checkpoint


@torch.random.fork_rng(devices=())
def settle(args: argparse.Namespace, processes: Processes, *, stage: int) -> Plan:
    """The plan of a run of stage 0, the teacher's, 1 or 2, with the options `args`, which stay as they are.

    All processes must settle together; nothing is written, and no random state changes. Raises UserError for options
    that contradict each other, the device, a checkpoint or the run that is to go on. With --amp auto on a CPU a few
    steps are timed; a run that goes on keeps what it began with.
    """
    # Which network, on which data
    branches = branch_count(use2BN=args.use2BN, use3BN=args.use3BN)
    origin = origin_of(args, branches, stage) if stage else None
    model = args.model_s if stage else checked_teacher(args.model)
    data = origin.data if origin else dataset_spec(args.dataset)
    network = model_spec(data, branches)
    if origin:  # a student may begin with its teacher's weights, so it sees what that saw
        network = replace(network, mean=origin.teacher.model.mean, std=origin.teacher.model.std)
    fresh = cache(lambda: build_model(model, **asdict(network)))

    # What is trained, and how
    mode = args.robust_train_mode or ("none" if args.attack_mode == "none" else "pgd")
    objective = settle_objective(args, mode, branches, with_teacher=stage > 0)
    check_batch(args.batch_size, branches, objective.views, processes.count)
    search = settle_search(args, objective.views) if stage == 1 else None
    distillation = settle_distillation(args, origin, objective, mode, fresh, search) if origin else None

    # What it is called; what it keeps to if it goes on; where and in what it computes
    named = partial(settle_run, args, stage, data.name, mode, branches, distillation)
    optimise = optimisation(args, settle_weights(args, named(None)) if stage == 2 else None)
    run = named(optimise.sparsity)
    begun = on_main_process(lambda: beginning_of(run))
    data_on = choose_data_on(kept(args.data_on, begun, "data_on"), data, processes.device)
    acceleration = settle_acceleration(args, kept(args.amp, begun, "amp"), fresh, processes)

    # What is recorded of it
    decided = {"dataset": data.name, "robust_train_mode": mode, "data_on": data_on, **recorded(acceleration, optimise)}
    if stage:
        decided |= {"mask_freeze_epochs": search.freeze_epochs} if search else recorded_weights(optimise.sparsity)
    given = Beginning(plain_arguments({**vars(args), **decided}), on_main_process(lambda: input_digests(args)))
    check_resumed(given, begun, run)
    plan = Plan(
        stage=stage,
        model=model,
        network=network,
        data=data,
        images=data_settings(args, data_on=data_on),
        objective=objective,
        attack=training_attack(args),
        judged_under=evaluation_attack(args),
        attacked_images=args.select_attack_images,
        optimisation=optimise,
        acceleration=acceleration,
        run=run,
        seed=args.seed,
        record=MappingProxyType(given.record),
        inputs=MappingProxyType(given.inputs),
        distillation=distillation,
        search=search,
    )
    if processes.is_main:
        print(*(f"note: {note}\n" for note in notes(plan, vars(args))), sep="", end="")
    return plan


def kept(given: str, begun: Beginning | None, name: str) -> str:
    """What an option's 'auto' was when the run began that now goes on."""
    return str(begun.record.get(name, given)) if begun and given == "auto" else given


def input_digests(args: argparse.Namespace) -> dict[str, str]:
    """SHA-256 of the checkpoints that the options name, by option."""
    return {name: file_digest(path) for name in INPUTS if (path := getattr(args, name, None))}


def recorded(acceleration: Acceleration, optimise: Optimisation) -> dict[str, object]:
    graphs = "graphs" if acceleration.graphs else "none"
    return {"amp": acceleration.amp, "compile": graphs, "lr_decay_epochs": list(optimise.lr_decay_epochs)}


def origin_of(args: argparse.Namespace, branches: int, stage: int) -> Origin:
    student_file = args.path_s_load if stage == 2 else None
    return find_origin(args.model_s, args.dataset, branches, args.path_t, student_file, args.teacher_images)


def settle_acceleration(
    args: argparse.Namespace, amp: str, fresh: Callable[[], Network], processes: Processes
) -> Acceleration:
    """`amp`: what was asked for, or what a run began with; `fresh` gives the network to time where neither says."""
    graphs = choose_compile(args.compile, processes) == "graphs"
    amp = choose_amp(amp, processes.device)
    if amp == "auto":
        amp = timed_precision(fresh(), args.batch_size, processes, channels_last=args.channels_last)
    return Acceleration(processes.device.type, amp, args.channels_last, graphs, must_record=args.compile == "graphs")


def checked_teacher(model: str) -> str:
    if architecture_of(model) != model:
        raise UserError(f"--model {model} is a student; its teacher is {architecture_of(model)}")
    return model


def check_batch(batch_size: int, branches: int, views: Sequence[str], processes: int) -> None:
    """Raise UserError where a process, or a view of it, would be left without images."""
    if batch_size % processes:
        raise UserError(f"--batch_size {batch_size} cannot be shared evenly by {processes} processes")
    parts = 3 if branches == 3 and "aug" in views else 2 if branches > 1 else 1
    if batch_size // processes < parts:
        raise UserError(f"--batch_size {batch_size} over {processes} processes leaves a view without images")


def settle_objective(args: argparse.Namespace, mode: str, branches: int, *, with_teacher: bool) -> Objective:
    """The objective of --robust_train_mode `mode`."""
    objective = parse_objective(
        mode,
        augmix=args.augment_mode == "augmix",
        attack=args.attack_mode != "none",
        weights=loss_weights(args, with_teacher=with_teacher),
        with_teacher=with_teacher,
    )
    check_branches(branches, objective.views)
    return objective


def settle_weights(args: argparse.Namespace, dense: RunIdentity) -> Sparsity | None:
    """None for dense weights. `dense`: the run with these, which goes on so if nobody could say otherwise then."""
    begun = on_main_process(lambda: beginning_of(dense))
    return None if begun is not None and "density" not in begun.record else settle_sparsity(args)


def notes(plan: Plan, given: Mapping[str, object]) -> Iterator[str]:
    """What options ask for, and others take away. `given`: the options before anything was decided."""
    options, mode = plan.record, str(plan.record["robust_train_mode"])
    if options["augment_mode"] == "augmix" and "aug" not in plan.objective.views:
        yield f"mode {mode} has no term for the AugMix view; none is made"
    for loss in losses().values() if plan.stage else ():
        if not loss.distill or not loss.weight:
            continue
        left_out = options["distill"] != loss.distill or not options[loss.weight.name]
        if left_out and set(loss.tokens) & set(mode.split("+")):
            yield (
                f"--distill kd sets {loss.weight.name} to 0, so the {loss.distill} terms are left out; "
                f"--distill {loss.distill} uses them"
            )
    if plan.stage and (answering := plan.origin.teacher_branches) != plan.network.branches:
        than = "fewer" if answering < plan.network.branches else "more"
        which = "its one branch answers" if answering == 1 else f"its {answering} branches answer"
        yield f"the teacher has {than} batch-norm branches than the student; {which} for all views"
    if plan.stage == 2 and options["dense"] and not given["dense"]:
        yield "the run that goes on began before there were sparse weights, and keeps its dense ones"
    if plan.search and not plan.search.course.epochs:
        epochs = count(plan.optimisation.epochs, "epoch")
        yield f"of {epochs} none is left to search in; the mask stays as it was drawn at random"


def settle_distillation(
    args: argparse.Namespace,
    origin: Origin,
    objective: Objective,
    mode: str,
    fresh: Callable[[], Network],
    search: SearchPlan | None,
) -> Distillation:
    """`fresh` gives a network of the student's architecture."""
    check_answers(objective, origin)
    teacher, answering = origin.teacher.model.name, origin.teacher.model.branches
    if origin.student:
        found, tag = origin.student.budget, origin.student.tag
        assert found is not None and tag is not None  # noqa: PT018 - `find_origin` has seen to it
        budget = Budget(found.label, tuple(found.layers))
        return Distillation(
            args.path_t, teacher, answering, budget, tag, args.path_s_load, teacher_images=args.teacher_images
        )
    assert search is not None  # this is stage 1
    seconds, available = settle_seconds(args), search.available(fresh())
    if args.layer_sensitivity and (args.sensitivity or search.shared):
        by = "--sensitivity" if args.sensitivity else "the search"
        raise UserError(f"--layer_sensitivity shares a budget out over layers, which {by} does here; leave it out")
    if seconds:
        budget = Budget(seconds.label, ())
    else:
        measured = args.layer_sensitivity
        budget = share_out(args.model_s, fresh(), args.sensitivity, args.relu_budget, available, measured)
    budget = Budget(budget.label + search.label, budget.layers)
    tag = student_tag(mode, attacked=args.attack_mode != "none")
    return Distillation(
        args.path_t,
        teacher,
        answering,
        budget,
        tag,
        from_teacher=args.init_student == "teacher",
        teacher_images=args.teacher_images,
        seconds=seconds,
    )


def settle_run(
    args: argparse.Namespace,
    stage: int,
    dataset: str,
    mode: str,
    branches: int,
    origin: Distillation | None,
    sparsity: Sparsity | None,
) -> RunIdentity:
    attacked = args.attack_mode != "none"
    settings = {"augment": args.augment_mode, "mode": mode, "branches": branches, "batch_size": args.batch_size}
    if origin:
        name = student_run(
            args.model_s,
            origin.teacher,
            dataset,
            origin.budget.label,
            attacked=attacked,
            temperature=args.kd_T,
            stage1_tag=origin.tag if stage == 2 else None,
            density=sparsity.density if sparsity else None,
            **settings,
        )
    else:
        name = teacher_run(args.model, dataset, attack=args.attack_mode, **settings)
    named = args.resume not in (None, "auto")
    if named:
        folder = real_path(args.resume).parent
    elif args.run_name:
        folder = run_folder(args.save_dir, stage, args.run_name)
    else:
        parent = runs_folder(args.save_dir, stage)
        folder = default_folder(parent, name.long, name.readable, long_names=args.long_names)
    stem = checkpoint_stem(args.model_s if origin else args.model, stage, attacked=attacked)
    # A process that torchrun has brought back goes on, whatever the command line once said.
    resume = "auto" if restarts() else args.resume
    return RunIdentity(folder, stem, resume, args.print_freq, args.save_freq)
