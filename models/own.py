"""A network of one's own: `PATH.py:function`, of a function that takes a `ModelSpec` and returns the network.

It is a `Network` of our layers, or any torch module whose ReLUs `mask_relus` has swapped. Checkpoints name the file,
the function and the file's digest, and never run it: only `--model PATH.py:function` does, or `rlnet.load_model`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from torch import nn

from formats.checkpoint import Checkpoint, Code
from helper.command_line import Parser
from helper.errors import UserError
from helper.files import file_digest
from models import ARCHITECTURES, STUDENTS, student_name
from models.layers import ModelSpec, Network
from models.plain import PlainNetwork, check_masks

PLACE = "PATH.py:function"


_named: dict[str, Code] = {}  # by architecture, in this process
_said: dict[str, str] = {}  # and what --model was


def add_code_option(parser: Parser) -> None:
    """--model, for scripts that take the network from a checkpoint."""
    parser.add_argument(
        "--model",
        type=model_name,
        metavar=PLACE,
        help="the code of a network of your own, which is run only where it is named here; other checkpoints say "
        "which network they are of",
    )


def model_name(text: str) -> str:
    """The architecture that --model names; the file of 'PATH.py:function' is run, once."""
    file, _, function = text.rpartition(":")
    if not file.endswith(".py"):
        return text
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"--model {text}: there is no file {path}")
    name, code = f"{path.stem}.{function}", Code(file=path.name, function=function, sha256=file_digest(path))
    if _named.get(name) != code:
        build = _function(path, function, text)
        ARCHITECTURES[name] = lambda spec: _build(build, spec, text)
        STUDENTS[student_name(name)] = name
        _named[name], _said[name] = code, text
    return name


def spoken_name(name: str) -> str:
    """What --model gives for the network of that name: of one's own also for a student that of its teacher."""
    architecture = STUDENTS.get(name, name)
    return architecture if architecture in _named else name


def model_words(name: str) -> list[str]:
    """What other commands need to load the network of that name: --model PATH.py:function for one's own."""
    said = _said.get(STUDENTS.get(name, name))
    return ["--model", said] if said else []


def described(name: str) -> dict[str, Code]:
    """What a checkpoint of the network of that name says of its code; nothing for networks of the house."""
    code = _named.get(STUDENTS.get(name, name))
    return {"code": code} if code else {}


def check_named(checkpoint: Checkpoint, path: str | Path) -> None:
    """Raise UserError where the checkpoint is of a network whose code nobody has named; say where that has changed."""
    code, name = checkpoint.code, checkpoint.model.name
    if not code:
        return
    known = _named.get(STUDENTS.get(name, name))
    if known is None:
        place = f"{code.file}:{code.function}"
        raise UserError(
            f"{path} is of a network of somebody's own; its code is run only where you name it: --model PATH/{place}"
        )
    if known.sha256 != code.sha256:
        print(f"note: {known.file} is no longer the file that {path} was made with", file=sys.stderr)


def _function(path: Path, function: str, text: str) -> Callable[[ModelSpec], nn.Module]:
    found = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
    if found is None or found.loader is None:
        raise UserError(f"--model {text}: {path} is no file of Python")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"--model {text}: running {path} ended in {type(error).__name__}: {error}") from error
    if not callable(build := getattr(module, function, None)):
        raise UserError(f"--model {text}: {path} has no function '{function}'")
    return build


def _build(build: Callable[[ModelSpec], nn.Module], spec: ModelSpec, text: str) -> Network:
    try:
        net = build(spec)
    except UserError as error:
        raise UserError(f"--model {text}: {error}") from error
    except Exception as error:
        raise UserError(f"--model {text}: the function ended in {type(error).__name__}: {error}") from error
    if not isinstance(net, nn.Module):
        raise UserError(f"--model {text}: the function returns {type(net).__name__}, not a torch module")
    try:
        model = net if isinstance(net, Network) else PlainNetwork(spec, net)
        check_masks(model)
    except UserError as error:
        raise UserError(f"--model {text}: the network {error}") from error
    return model
