"""One party of a private inference: `python -m private_inference.engine.party JOB.json`, in the engine's environment.

measure_private_inference.py starts it, and both talk in plain files and lines. The job names the role, the addresses
and a folder; what a party is given, and all it is ever given:

    client   images.npy     (N, C, H, W) float32, pixels in [0, 1]
    server   program.npz    the network, weights and all (private_inference/program/npz_file.py)

The server sends the client the public part of the program, which both hold against each other by its digest before
either of them makes a value of its secret. A secret is then private to its owner's engine: no share of it is made. Only
the server's share of the logits is sent to the client. Lines on stdout are JSON and tell how far it is; at the end
result.json, and the client's logits.npy, lie in the folder. Status 2 and one line on stderr where something is wrong.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from formats.parties import Event, Greeting, JobRecord, PartyResult, ProgramAnswer
from formats.private_costs import CostsRecord
from formats.program import ServedNetwork
from helper.errors import UserError, unexpected
from helper.files import map_array, read_record
from private_inference.engine.ending import Disagreement, PeerWatch, StopSignal, end_with_parent, leave, parting
from private_inference.engine.messages import heard
from private_inference.engine.protocols import EngineSettings
from private_inference.engine.secure_program import SecureProgram, prepare
from private_inference.engine.spu_runtime import CLIENT, PARTIES, SERVER, Link, Party, connect, engine_name
from private_inference.program.comparison import comparison_bits
from private_inference.program.public import digest, public_bytes, read_served
from private_inference.program.steps import Program

VERSION = 3  # of what the two parties say to each other


@dataclass(frozen=True)
class Job:
    role: str  # 'client' or 'server'
    listen: str  # host:port of this party, as the other one reaches it
    peer: str  # host:port of the other
    folder: str
    settings: EngineSettings  # `batch` is the client's to say
    digest: str | None = None  # client: the only program it agrees to

    @property
    def rank(self) -> int:
        return PARTIES.index(self.role)

    @classmethod
    def read(cls, path: str) -> Job:
        job = read_record(path, JobRecord)
        settings = EngineSettings(**dict(job.settings))
        return cls(job.role, job.listen, job.peer, job.folder, settings, job.digest)


def tell(event: Event) -> None:
    print(json.dumps(event.as_json()), flush=True)


def agree(link: Link, job: Job, images: int | None) -> tuple[int, int]:
    """Compare what the two run; (images, images a batch), which the client says."""
    batch = job.settings.batch
    mine = Greeting(version=VERSION, engine=engine_name(), images=images, batch=batch, **job.settings.described())
    said = [heard(text, Greeting) for text in link.all_gather(json.dumps(mine.as_json()))]
    theirs = said[1 - job.rank].runs
    for name, value in mine.runs.items():
        if theirs.get(name) != value:
            raise Disagreement(f"the other party runs {name} {theirs.get(name)}, this one {value}; make them the same")
    count, batch = said[CLIENT].images, said[CLIENT].batch
    if not count or count % batch:
        raise Disagreement(f"the client asks for {count} images in batches of {batch}")
    return count, batch


def agree_on_program(link: Link, job: Job) -> tuple[Program, ServedNetwork]:
    """The program, with weights where this is the server, and what is known about it; the same one on both sides."""
    if job.rank == SERVER:
        program, about = read_served(Path(job.folder, "program.npz"))
        link.send(CLIENT, public_bytes(program, about))
    else:
        program, about = read_served(io.BytesIO(link.recv(SERVER)))
    mine = digest(program, about)
    refused = job.digest is not None and mine != job.digest
    own = ProgramAnswer(digest=mine, refused=refused)
    said = [heard(text, ProgramAnswer) for text in link.all_gather(json.dumps(own.as_json()))]
    if refused:
        raise Disagreement(
            f"the server's program has the digest {mine}, {job.digest} was expected; nothing was sent. "
            f"If its owner says that it has changed: --digest {mine}"
        )
    if said[CLIENT].refused:
        raise Disagreement(f"the client does not agree to this program (it expects another digest than {mine})")
    digests = [party.digest for party in said]
    if digests[CLIENT] != digests[SERVER]:
        raise Disagreement(
            f"the two parties read the program differently (digest {digests[CLIENT]} at the client, "
            f"{digests[SERVER]} at the server): are both of the same version of this project?"
        )
    return program, about


def take_part(job: Job, stop: StopSignal) -> None:
    folder, began = Path(job.folder), time.perf_counter()
    images = np.array(map_array(folder / "images.npy")) if job.rank == CLIENT else None
    addresses = (job.listen, job.peer) if job.rank == CLIENT else (job.peer, job.listen)
    with parting(meet(job, addresses)) as link, PeerWatch(job.peer):
        count, batch = agree(link, job, None if images is None else len(images))
        stop.tell(link, job.peer)
        settings = replace(job.settings, batch=batch)
        program, about = agree_on_program(link, job)
        if images is not None and images.shape[1:] != program.input_shape:
            raise UserError(f"the images are {images.shape[1:]}, the server's network takes {program.input_shape}")
        # Only now: what the engines say to each other when they begin differs from protocol to protocol.
        party = Party(link, settings, folder / "engine.log")
        secure = SecureProgram(party, program, settings)
        link.barrier()
        setup = time.perf_counter() - began
        set_up = prepare(party, program, settings)
        tell(Event(event="ready", seconds=setup, digest=digest(program, about)))
        logits: list[np.ndarray] = []
        runs = []
        for first in range(0, count, batch):
            began = time.perf_counter()
            answer, costs = secure.run(None if images is None else images[first : first + batch])
            logits += [] if answer is None else [answer]
            runs.append(costs)
            spent = time.perf_counter() - began
            tell(Event(event="images", done=first + batch, batch=batch, of=count, seconds=spent))
        link.all_gather("done")
        if job.rank == CLIENT:
            np.save(folder / "logits.npy", np.concatenate(logits), allow_pickle=False)
        result = PartyResult(
            about=about,
            digest=digest(program, about),
            engine=engine_name(),
            images=count,
            batch=batch,
            comparison=comparison_bits(program),
            setup_seconds=setup,
            costs=CostsRecord.model_validate(secure.priced(runs, set_up).as_json()),
        )
    # With its last name this party is done, however its farewell goes (see `parting`).
    whole = folder / "result.json.whole"
    whole.write_text(json.dumps(result.as_json()))
    whole.rename(folder / "result.json")
    link.stop_link()


def meet(job: Job, addresses: tuple[str, str]) -> Link:
    """The link to the other party; raises UserError where there is none within the timeout."""
    lonely = (
        f"no other party at {job.peer} within {job.settings.timeout:g} s: is it running, with the other --role"
        f"{' and --tls of the same authority' if job.settings.tls else ' and, like this one, without --tls'}, and is "
        f"{job.listen} what it calls its --peer?"
    )
    # The engine counts its attempts, not the time that each of them takes.
    patience = threading.Timer(job.settings.timeout, leave, [lonely])
    patience.start()
    try:
        link = connect(addresses, job.rank, job.settings)
    except RuntimeError as error:
        raise UserError(f"{lonely} ({reason(error)})") from error
    finally:
        patience.cancel()
    tell(Event(event="linked"))
    return link


def reason(error: BaseException) -> str:
    """What the engine says in the first line that says something; a stack trace may follow it."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line not in ("", "what:")), type(error).__name__)[:200]


def main(path: str) -> None:
    stop = StopSignal()
    job = Job.read(path)
    threading.Thread(target=end_with_parent, args=[job.folder], daemon=True).start()
    try:
        take_part(job, stop)
    except UserError as error:
        leave(str(error))
    except RuntimeError as error:  # all that the engine raises
        stop.hear_out()
        leave(
            f"the other party at {job.peer} did not answer within {job.settings.timeout:g} s (--timeout), "
            f"or the engine failed: {reason(error)}"
        )
    except Exception as error:  # a mistake of ours; returning would wait for the engine's threads
        leave(unexpected(error), 1)
    # Not by returning: the engine's threads may outlive the link, and everything is written.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
