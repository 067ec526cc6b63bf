"""The journal: what a run remembers, and the contract of whoever keeps it.

A **fact** is one thing that happened at a path of a run: an attempt started, a step completed, a condition
was decided. An **entry** is one row of the journal: a primary fact and the facts that ride on it. The
completion of one step and the start of the next are one entry, so a run of sequential steps costs one row
per step.

The rules every implementation keeps, and ``testing.journal_conformance`` checks:

1. *Accepted is durable.* When ``create``, ``deliver`` or ``commit`` return, what they wrote survives kill
   -9 and power loss. When they raise ``StorageError``, whether it is there is unknown: the journal is
   closed, and only opening it again and reading tells.
2. *All or nothing.* A commit is one transaction, for all the runs in it. What is refused (``Fenced``,
   ``Conflict``, ``InternalError``) has written nothing, and the journal goes on.
3. *One writer per run.* Entries are appended only by the session that claimed the run. A session that was
   fenced out (``Fenced``) can commit nothing more, for none of its runs. Everybody else leaves *messages*
   in the run's inbox (``deliver``), which its writer reads.
4. *Append only.* Entries are unique by (run, path, kind, attempt, generation) and never change. Each
   carries the hash of the one before it: ``chain_hash``.
5. *Synchronous, and honest about it.* ``try_commit`` never waits for anybody else; if it would have to, it
   returns False with nothing done, and the caller repeats it as ``commit`` off its event loop. A journal
   across a network always returns False.

Times are milliseconds since the epoch, UTC. Data is JSON (``values``); ``msgspec.Raw`` stands for data
already encoded, canonically: what is read back is encoded again to check its hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal, Protocol

import msgspec

from flowctl.errors import Control
from flowctl.state import ENDED, RunStatus

GENESIS = b"\0" * 32

LEASE = 30.0
"""Seconds for which a session may be silent before it counts as dead. One that was killed shows at once."""

BEAT = LEASE / 10
"""Seconds between two signs of life (``Journal.beat``)."""

Scalar = str | int | float | bool | None
Where = Sequence[tuple[str, Sequence[Scalar]]]
"""Conditions on search attributes, all of which must hold: a name, and the values it may have, equal as JSON
is (``1`` is ``1.0`` and not ``true``). A run without that attribute does not have any of them.
"""


class Fact(msgspec.Struct, omit_defaults=True, gc=False):
    """One thing that happened. ``data``'s keys depend on ``kind``; see ``machine`` for the kinds."""

    path: str
    kind: str
    at: int
    attempt: int = 0
    generation: int = 0
    data: dict[str, Any] = {}


class Entry(msgspec.Struct, gc=False):
    """One row: a fact and its riders, in the order in which they happened.

    ``seq`` grows within the journal; 0 before the entry is stored. ``hash`` chains it to the run's previous
    entry.
    """

    fact: Fact
    riders: list[Fact]
    seq: int = 0
    hash: bytes = b""

    def facts(self) -> Iterable[Fact]:
        """The primary fact, then its riders."""
        yield self.fact
        yield from self.riders


class Document(msgspec.Struct, frozen=True):
    """A pinned document: ``body`` its canonical JSON, ``source`` the text as its author wrote it."""

    digest: str
    name: str
    version: int
    body: bytes
    source: str


class Definition(msgspec.Struct, frozen=True):
    """A deployed version: ``deprecated`` is None, or why."""

    name: str
    version: int
    digest: str
    deployed_at: int
    deprecated: str | None = None


class Run(msgspec.Struct, gc=False):
    """The row of a run: identity, and its state as of the last commit.

    ``key`` is the journal's own number for it; they grow in the order of creation. ``input``, ``output``,
    ``error``, ``saga``, ``waiting_for``, ``blocked`` are JSON. ``attributes`` is ``{"search": {…},
    "memo": {…}}``, or None while the run has neither; search attributes are scalars. ``pins`` are the
    digests that the references to children stand for, by document and text, None if there are none;
    ``inherited`` is what the run took over from the one before it in its chain, or from its parent:
    ``left`` behind, ``why`` it undoes, and that it is ``secret``; ``origin`` is the run
    that it repeats, ``{"run", "digest", "from", "until"}``: from which step on, and the last ``seq`` that
    counts. ``wake_at`` is when something is due by itself, or None; ``due_at`` is from when on somebody
    should take the run up, None if only a message can move it, and means nothing while somebody has it.
    ``session`` is the claiming session's id, or None. ``entries`` and ``size`` count its rows and the bytes
    of their encoded data; ``head`` is the hash of the last. The row is not written with every entry: a
    reader may see these three as they were some entries ago, whoever claims the run never does.
    ``parent_id`` is None for runs that a person started; ``@last`` finds the latest of them.
    """

    id: str
    workflow_id: str
    workflow: str
    version: int
    digest: str
    input: Any
    created_at: int
    deadline: int
    status: str = "created"
    parent_id: str | None = None
    principal: str | None = None
    trace_id: str | None = None
    started_at: int | None = None
    completed_at: int | None = None
    output: Any = None
    error: Any = None
    saga: Any = None
    waiting_for: Any = None
    blocked: Any = None
    attributes: Any = None
    pins: Any = None
    inherited: Any = None
    origin: Any = None
    wake_at: int | None = None
    due_at: int | None = None
    generation: int = 0
    session: str | None = None
    entries: int = 0
    size: int = 0
    head: bytes = GENESIS
    key: int = 0


def is_secret(run: Run) -> bool:
    """Whether nobody is to see the data of a run: a step with ``secret: true`` has it run."""
    return bool((run.inherited or {}).get("secret"))


def secrecy(run: Run) -> dict[str, Any] | None:
    """What a run that comes of this one takes over (``Run.inherited``) so as to be as secret."""
    return {"secret": True} if is_secret(run) else None


MessageKind = Literal["signal", "cancel", "pause", "unpause", "resume", "terminate", "retry", "child"]


class Message(msgspec.Struct, frozen=True):
    """Something from outside for a run: a signal, what a person asks of it, or that a child has ended.

    ``seq`` orders the inbox. ``dedup_id`` makes a second delivery of the same signal a no-op. ``data`` is a
    signal's payload, ``{"reason": …}`` of ``cancel``, or ``{"generation": …}`` of ``retry``; ``name`` is the
    child's id.
    """

    run_id: str
    kind: MessageKind
    name: str
    data: Any
    at: int
    principal: str | None = None
    dedup_id: str | None = None
    seq: int = 0


class Heartbeat(msgspec.Struct, frozen=True, gc=False):
    """How far an attempt in flight has come: the latest ``details`` that it reported, as canonical JSON; None
    once they are not needed any more.
    """

    path: str
    attempt: int
    details: bytes | None = None


class Change(msgspec.Struct, gc=False):
    """What one commit does to one run: entries to append, and the run's row as it is afterwards.

    ``run`` already carries the new state; its ``key``, ``session``, ``entries``, ``size`` and ``head`` are
    the journal's to keep. ``create`` inserts it first, claimed by this session; ``RunIdConflict`` if its id
    is taken. ``state_changed`` is False when the row need not be written (a step completed, the run just
    goes on). ``release`` writes it and gives the claim back; a run that has got messages after ``seen``, the
    ``seq`` of the latest that was read, is then due at once. ``successor`` is a run that begins as this one
    ends, claimed by nobody; it is accepted, and gets the messages that are not among those ``received``.
    ``tell`` is a message for another run, delivered with this commit unless that one has ended.
    ``heartbeats`` take the place of what was kept at their paths, at most one for each; a run that ends
    has none any more.

    A commit sets the journal's part of ``run``, and ``seq`` and ``hash`` of ``entries``, in place; if it is
    refused, they mean nothing.
    """

    run: Run
    entries: list[Entry]
    create: bool = False
    state_changed: bool = False
    release: bool = False
    seen: int = 0
    tell: Message | None = None
    successor: Run | None = None
    received: frozenset[int] = frozenset()
    heartbeats: Sequence[Heartbeat] = ()


class Mark(msgspec.Struct, frozen=True):
    """How far somebody has looked (``Journal.touched``): the last entry, run and message that he knows, and
    the runs that were stirring then, by id, each with a checksum of its row.
    """

    entry: int = 0
    run: int = 0
    message: int = 0
    stirring: Mapping[str, int | None] = {}

    def moved(self, later: Mapping[str, int | None]) -> set[str]:
        """Of those that were stirring or are later: whose row changed, who is new among them, who is gone."""
        return {run_id for run_id, _ in self.stirring.items() ^ later.items()}


STIRRING = 1_000
"""Of the runs that are due and that nobody has, how many a mark knows: those that are taken up next."""


class Statistics(msgspec.Struct, frozen=True):
    """What a journal adds up to. ``runs`` counts them by workflow and status; ``due`` are those that wait for
    a worker; ``size`` is in bytes, its log included.
    """

    runs: Sequence[tuple[str, str, int]]
    due: int
    workers: int
    size: int


class Fenced(Control):
    """This session was declared dead and its runs were taken over: stop, write nothing more."""


class Journal(Protocol):
    """Where runs are kept. One instance is used by one thread at a time."""

    @property
    def url(self) -> str:
        """Where it is, for people and for ``--db``."""

    @property
    def protected_paths(self) -> tuple[str, ...]:
        """Real paths of files that nothing else in this process may open: closing one drops our locks."""

    # --- documents and the registry

    def put_document(self, document: Document) -> None:
        """Keep a document under its digest, durably; one that is there already stays as it is."""

    def document(self, digest: str) -> Document | None:
        """The document with that digest."""

    def document_of_source(self, source: str) -> Document | None:
        """The document last put with exactly this text, so that known text need not be read again.

        Every text that a document was put with finds it; its ``source`` stays the first.
        """

    def deploy(self, name: str, version: int, digest: str, at: int) -> bool:
        """Register a version, durably; False if it is there already. ``VersionTaken`` for other content."""

    def deprecate(self, name: str, version: int, message: str) -> None:
        """Mark a version as deprecated; ``NotFound``."""

    def definitions(self, name: str | None = None) -> list[Definition]:
        """Deployed versions, by name, newest version first."""

    # --- runs, for readers

    def run(self, run_id: str) -> Run | None:
        """The row of a run, by its run id."""

    def runs_with_prefix(self, prefix: str, limit: int = 10) -> list[Run]:
        """The latest runs of the chains whose workflow id starts with ``prefix``, newest first, or, if it has
        a ``~``, the runs whose id does; children only if it has a ``/``.
        """

    def latest_of(self, workflow_id: str) -> Run | None:
        """The latest run of a workflow id's chain."""

    def last_started(self) -> Run | None:
        """The latest run of the chain that was last started on this journal, children aside."""

    def list_runs(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int = 50,
        before: int | None = None,
    ) -> list[Run]:
        """Runs, newest first; ``before`` is the ``key`` to go on from."""

    def touched(self, mark: Mark | None, now: int) -> tuple[Mark, list[str]]:
        """The ids of the runs that may have changed since ``mark``, and a mark of now. Without one, of none.

        They are those with new entries or messages, those that are new, and those that were **stirring**:
        somebody has them, or they are due by ``now``, so that somebody may have had them meanwhile. No other
        run's row can have changed.
        """

    def statistics(self, now: int) -> Statistics:
        """What the journal adds up to."""

    def entries(self, run_id: str, after: int = 0) -> list[Entry]:
        """A run's entries with ``seq`` over ``after``, in order."""

    def inbox(self, run_id: str, after: int = 0) -> list[Message]:
        """A run's messages with ``seq`` over ``after``, in order of acceptance."""

    def heartbeats(self, run_id: str) -> list[Heartbeat]:
        """How far the attempts of a run had come that were in flight at its last commit."""

    def attended(self, run_id: str) -> bool:
        """Whether a live session, this one or another, has the run."""

    def changed(self) -> bool:
        """Whether anybody else may have written since the last call; cheap enough to ask all the time.

        The first call asks about the time since the journal was opened.
        """

    def news(self) -> list[Message]:
        """The messages that came since the last call, for runs that this session has, in order of
        acceptance. The first call asks about the time since the first claim.
        """

    def next_due(self) -> int | None:
        """When the first of the runs that nobody has is due; None if none ever is by itself."""

    def due(self, now: int) -> int:
        """How many runs nobody has and are due by ``now``: what waits for a worker."""

    def workers(self) -> int:
        """How many live sessions are workers."""

    # --- writing

    def create(self, run: Run, *, claim: bool = False) -> tuple[Run, bool]:
        """Accept a run, durably, and ``claim`` it if that is wanted. If the id is taken, returns that run and
        False, with nothing changed.
        """

    def deliver(self, message: Message) -> tuple[Message, bool]:
        """Put a message into a live run's inbox, durably. ``RunNotFound``, ``RunClosed``.

        If its ``dedup_id`` was there, returns the message that was and False, also when the run has ended
        since.
        """

    def claim(self, run_id: str) -> Run | None:
        """Make this session the run's writer and return the row as it is now; None while another *live* one
        is.

        Claiming a run of a dead session fences that session out first. ``RunNotFound``, ``Fenced``.
        """

    def try_claim_due(self, now: int, limit: int) -> list[Run] | None:
        """Claim runs that nobody has and that are due by ``now``, those due first first, at most ``limit``;
        None if that would need waiting for another process (rule 5). ``Fenced``.
        """

    def enlist(self) -> None:
        """Make this session a worker's: the runs that others leave, or have left, will be taken up."""

    def begin_anew(self) -> None:
        """After ``Fenced``: forget the session and what it had. The next claim makes another."""

    def beat(self) -> None:
        """Say that this session lives. One that is silent for longer than the lease counts as dead."""

    def reap(self) -> bool:
        """Fence out the sessions that have died, and give back what they had, due at once; whether there
        were any.
        """

    def try_commit(self, changes: Sequence[Change]) -> bool:
        """Commit all changes, at most one per run, if that needs no waiting for another process; see rule
        5.

        Raises ``Fenced``, ``RunIdConflict``, ``StorageError``; ``InternalError`` for a run that this
        session has not claimed and for an entry that is there already.
        """

    def commit(self, changes: Sequence[Change]) -> None:
        """The same, waiting for its turn."""

    def close(self) -> None:
        """Give back all claims of this session and leave. Idempotent."""


def _plain(value: object) -> str:
    """A ``Path`` is a string to JSON; anything else that msgspec does not know is not data."""
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"a {type(value).__name__} is not JSON")


_encoder = msgspec.json.Encoder(order="sorted", enc_hook=_plain)


def encode_entry(entry: Entry) -> bytes:
    """The stored JSON of an entry's data and riders: canonical, so that its hash can be repeated anywhere."""
    return _encoder.encode(
        {"data": entry.fact.data, "then": entry.riders} if entry.riders else {"data": entry.fact.data}
    )


def decode_entry(row: tuple[int, str, str, int, int, int, bytes | str, bytes]) -> Entry:
    """The inverse: from (seq, path, kind, attempt, generation, at, data, hash)."""
    seq, path, kind, attempt, generation, at, data, digest = row
    stored = _decoder.decode(data)
    # In the order of their fields: names take six times as long.
    return Entry(Fact(path, kind, at, attempt, generation, stored.data), stored.then, seq, digest)


class _Stored(msgspec.Struct):
    data: dict[str, Any]
    then: list[Fact] = []


_decoder = msgspec.json.Decoder(_Stored)


def chain_hash(previous: bytes, fact: Fact, encoded: bytes) -> bytes:
    """The hash of an entry: sha256 over the previous hash, what identifies the entry, and its data."""
    identity = f"{fact.path}\0{fact.kind}\0{fact.attempt}\0{fact.generation}\0{fact.at}\0".encode()
    return sha256(previous + identity + encoded).digest()


def end_of_child(run: Run, at: int) -> Message | None:
    """What the parent of a run that has ended is told; None if it has none, has not ended, or is not the last
    of its chain.
    """
    if run.parent_id is None or run.status not in ENDED or run.status == RunStatus.CONTINUED:
        return None
    return Message(run.parent_id, "child", run.id, None, at)


def as_accepted(run: Run, entries: Iterable[Entry]) -> Run:
    """The row with the document that the run was accepted with, before it was migrated."""
    for entry in entries:
        if entry.fact.kind == "migrated":
            return msgspec.structs.replace(run, **entry.fact.data["from"])
    return run


def genesis(run: Run) -> bytes:
    """The hash a run's chain starts from: who it is and what it was asked to do."""
    return chain_hash(
        GENESIS, Fact(run.id, "created", run.created_at), _encoder.encode([run.digest, run.input])
    )
