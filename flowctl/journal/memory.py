"""The journal in memory: for tests, for ``memory:`` and for virtual time. It ends with its store.

A ``MemoryStore`` is what a file is to SQLite: opened several times, it shows several sessions to each other,
and ``kill`` lets one die. Runs and entries are kept encoded and decoded anew for everyone who reads, so that
nobody can change what was accepted by changing an object that is still in hand; the hashes are real.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from flowctl import values
from flowctl.errors import StorageError
from flowctl.journal import (
    STIRRING,
    Change,
    Definition,
    Document,
    Entry,
    Fenced,
    Heartbeat,
    Mark,
    Message,
    Run,
    Statistics,
    Where,
    decode_entry,
    genesis,
    refusals,
)
from flowctl.journal.rows import Batch, Tally, accepted
from flowctl.state import ENDED

Identity = tuple[int, str, str, int, int]
"""What an entry is unique by: run, path, kind, attempt, generation."""

Row = tuple[int, int, str, str, int, int, int, str, bytes]
"""``rows.Row`` with a hash that nobody can change."""

_encode = msgspec.json.Encoder(order="sorted").encode
_decode_run = msgspec.json.Decoder(Run).decode
_decode_message = msgspec.json.Decoder(Message).decode


class MemoryStore:
    """What journals opened on it share. ``lock`` is held while writing, like SQLite's mutex."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.version = 0
        self.documents: dict[str, Document] = {}
        self.sources: dict[str, str] = {}
        self.definitions: dict[tuple[str, int], Definition] = {}
        self.keys: dict[str, int] = {}
        self.runs: dict[int, bytes] = {}
        self.rows: dict[int, list[Row]] = {}
        self.identities: set[Identity] = set()
        self.inbox: dict[int, list[bytes]] = {}
        self.heartbeats: dict[tuple[int, str], Heartbeat] = {}
        self.last_seq = 0
        self.last_message = 0
        self.living: set[str] = set()
        self.workers: set[str] = set()
        self.fenced: set[str] = set()

    def kill(self, session: str) -> None:
        """Let a session be dead to all others; it learns of it at its first commit after a takeover."""
        self.living.discard(session)


class MemoryJournal:
    """A ``Journal`` on a store; one of its own if none is given."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self._store = store or MemoryStore()
        self._session: str | None = None
        self._tallies: dict[int, Tally] = {}
        self._own = 0
        self._heard = 0
        self._seen = self._store.version
        self._closed = False

    @property
    def store(self) -> MemoryStore:
        """What it was opened on."""
        return self._store

    @property
    def url(self) -> str:
        """Always ``memory:``."""
        return "memory:"

    @property
    def protected_paths(self) -> tuple[str, ...]:
        """None: there are no files."""
        return ()

    def another(self) -> MemoryJournal:
        """Another session on the same store."""
        return MemoryJournal(self._store)

    # --- documents and the registry

    def put_document(self, document: Document) -> None:
        with self._writing() as store:
            store.documents.setdefault(document.digest, document)
            store.sources[document.source] = document.digest

    def document(self, digest: str) -> Document | None:
        return self._store.documents.get(digest)

    def document_of_source(self, source: str) -> Document | None:
        return self._store.documents.get(self._store.sources.get(source, ""))

    def deploy(self, name: str, version: int, digest: str, at: int) -> bool:
        with self._writing() as store:
            known = store.definitions.get((name, version))
            if known is None:
                store.definitions[name, version] = Definition(name, version, digest, at)
            elif known.digest != digest:
                raise refusals.version_taken(name, version)
        return known is None

    def deprecate(self, name: str, version: int, message: str) -> None:
        with self._writing() as store:
            known = store.definitions.get((name, version))
            if known is None:
                raise refusals.not_deployed(name, version)
            store.definitions[name, version] = msgspec.structs.replace(known, deprecated=message)

    def definitions(self, name: str | None = None) -> list[Definition]:
        found = [one for one in self._store.definitions.values() if name in (None, one.name)]
        return sorted(found, key=lambda one: (one.name, -one.version))

    # --- runs, for readers

    def run(self, run_id: str) -> Run | None:
        key = self._store.keys.get(run_id)
        return None if key is None else _decode_run(self._store.runs[key])

    def runs_with_prefix(self, prefix: str, limit: int = 10) -> list[Run]:
        def wanted(run: Run) -> bool:
            if "~" in prefix:
                named = run.id.startswith(prefix)
            else:
                named = run.workflow_id.startswith(prefix) and run == self.latest_of(run.workflow_id)
            return named and (run.parent_id is None or "/" in prefix)

        return self._newest(wanted, limit)

    def latest_of(self, workflow_id: str) -> Run | None:
        return next(iter(self._newest(lambda run: run.workflow_id == workflow_id, 1)), None)

    def last_started(self) -> Run | None:
        started = self._newest(lambda run: run.parent_id is None and run.id == run.workflow_id, 1)
        return self.latest_of(started[0].workflow_id) if started else None

    def list_runs(
        self,
        *,
        statuses: Sequence[str] = (),
        workflow: str | None = None,
        where: Where = (),
        limit: int = 50,
        before: int | None = None,
    ) -> list[Run]:
        def wanted(run: Run) -> bool:
            return (
                (not statuses or run.status in statuses)
                and (workflow is None or run.workflow == workflow)
                and (before is None or run.key < before)
                and _has_attributes(run, where)
            )

        return self._newest(wanted, limit)

    def touched(self, mark: Mark | None, now: int) -> tuple[Mark, list[str]]:
        runs, store = list(self._all()), self._store
        due = sorted((run for run in runs if _is_due(run, now)), key=lambda run: run.due_at or 0)
        had = [run for run in runs if run.session is not None]
        stirring: dict[str, int | None] = {
            run.id: hash(store.runs[run.key]) for run in (*due[:STIRRING], *had)
        }
        last = max((run.key for run in runs), default=0)
        found = Mark(store.last_seq, last, store.last_message, stirring)
        if mark is None:
            return found, []
        touched = {run.id for run in runs if run.key > mark.run or self._has_news(run.key, mark)}
        return found, sorted(touched | mark.moved(stirring))

    def _has_news(self, key: int, mark: Mark) -> bool:
        rows, messages = self._store.rows.get(key), self._store.inbox.get(key)
        heard = messages and _decode_message(messages[-1]).seq > mark.message
        return bool(heard or (rows and rows[-1][0] > mark.entry))

    def statistics(self, now: int) -> Statistics:
        runs = list(self._all())
        counted = Counter((run.workflow, str(run.status)) for run in runs)
        due = sum(_is_due(run, now) for run in runs)
        return Statistics([(*what, count) for what, count in sorted(counted.items())], due, self.workers(), 0)

    def entries(self, run_id: str, after: int = 0) -> list[Entry]:
        rows = self._store.rows.get(self._store.keys.get(run_id, 0), [])
        return [decode_entry((row[0], *row[2:])) for row in rows if row[0] > after]

    def inbox(self, run_id: str, after: int = 0) -> list[Message]:
        messages = map(_decode_message, self._store.inbox.get(self._store.keys.get(run_id, 0), []))
        return [message for message in messages if message.seq > after]

    def heartbeats(self, run_id: str) -> list[Heartbeat]:
        key = self._store.keys.get(run_id, 0)
        kept = sorted(self._store.heartbeats.items())
        return [heartbeat for (run, _), heartbeat in kept if run == key]

    def attended(self, run_id: str) -> bool:
        run = self.run(run_id)
        return run is not None and run.session in self._store.living

    def next_due(self) -> int | None:
        due = [run.due_at for run in self._all() if run.session is None and run.due_at is not None]
        return min(due, default=None)

    def due(self, now: int) -> int:
        return sum(
            run.session is None and run.due_at is not None and run.due_at <= now for run in self._all()
        )

    def workers(self) -> int:
        return len(self._store.workers & self._store.living)

    def changed(self) -> bool:
        before, self._seen = self._seen, self._store.version - self._own
        return before != self._seen

    def _all(self) -> Iterator[Run]:
        return map(_decode_run, list(self._store.runs.values()))

    def _newest(self, wanted: Callable[[Run], bool], limit: int) -> list[Run]:
        found: list[Run] = []
        for data in reversed(self._store.runs.values()):
            if len(found) == limit:
                break
            run = _decode_run(data)
            if wanted(run):
                found.append(run)
        return found

    # --- writing

    def create(self, run: Run, *, claim: bool = False) -> tuple[Run, bool]:
        with self._writing() as store:
            existing = self.run(run.id)
            if existing is not None:
                return existing, False
            created = accepted(run, len(store.runs) + 1)
            self._insert(created)
            if claim:
                created = self._claim(created, self._joined())
        return created, True

    def deliver(self, message: Message) -> tuple[Message, bool]:
        with self._writing():
            run = self.run(message.run_id)
            if run is None:
                raise refusals.run_not_found(message.run_id)
            chain = self._all() if message.dedup_id is not None else ()
            for member in (each for each in chain if each.workflow_id == run.workflow_id):
                for known in self.inbox(member.id):
                    if known.dedup_id == message.dedup_id:
                        return msgspec.structs.replace(known, run_id=run.id), False
            if run.status in ENDED:
                raise refusals.run_closed(run.id, run.status)
            return self._put(run, message), True

    def claim(self, run_id: str) -> Run | None:
        with self._writing() as store:
            session = self._joined()
            run = self.run(run_id)
            if run is None:
                raise refusals.run_not_found(run_id)
            if run.session not in (None, session):
                if run.session in store.living:
                    return None
                self._fence_dead()
                run = _decode_run(store.runs[run.key])
            return self._claim(run, session)

    def try_claim_due(self, now: int, limit: int) -> list[Run] | None:
        due = [
            run for run in self._all() if run.session is None and run.due_at is not None and run.due_at <= now
        ]
        if not due:
            return []
        if not self._store.lock.acquire(blocking=False):
            return None
        with self._work():
            session = self._joined()
            due.sort(key=lambda run: (run.due_at, run.key))
            return [self._claim(run, session) for run in due[:limit]]

    def _claim(self, run: Run, session: str) -> Run:
        tally = self._tallies[run.key] = self._tally_of(run)
        claimed = msgspec.structs.replace(run, session=session, **msgspec.structs.asdict(tally))
        self._store.runs[run.key] = _encode(msgspec.structs.replace(claimed, due_at=run.due_at or 0))
        return claimed

    def enlist(self) -> None:
        with self._writing() as store:
            store.workers.add(self._joined())

    def begin_anew(self) -> None:
        self._store.living.discard(self._session or "")
        self._session, self._tallies = None, {}

    def beat(self) -> None:
        """Nothing: who is alive, the store knows."""

    def reap(self) -> bool:
        with self._writing():
            return self._fence_dead()

    def _fence_dead(self) -> bool:
        store, dead = self._store, set[str]()
        for run in self._all():
            if run.session is not None and run.session not in store.living:
                dead.add(run.session)
                tally = self._counted(run)
                store.runs[run.key] = _encode(
                    msgspec.structs.replace(run, session=None, **msgspec.structs.asdict(tally))
                )
        store.fenced |= dead
        return bool(dead)

    def news(self) -> list[Message]:
        mine = [
            message
            for run in self._all()
            if self._session is not None and run.session == self._session
            for message in self.inbox(run.id, self._heard)
        ]
        self._heard = max([self._heard, *(message.seq for message in mine)])
        return sorted(mine, key=lambda message: message.seq)

    def try_commit(self, changes: Sequence[Change]) -> bool:
        if not self._store.lock.acquire(blocking=False):
            return False
        with self._work():
            self._commit(changes)
        return True

    def commit(self, changes: Sequence[Change]) -> None:
        with self._writing():
            self._commit(changes)

    def _commit(self, changes: Sequence[Change]) -> None:
        store = self._store
        batch = Batch(self._joined(), self._tallies)
        for change in changes:
            batch.add(change)
        batch.place(store.last_seq, len(store.runs))
        self._check_unique(batch)
        for run in batch.created:
            self._insert(run)
        for row in batch.rows:
            store.rows[row[1]].append((*row[:-1], bytes(row[-1])))
            store.identities.add(row[1:6])
            store.last_seq = row[0]
        for change in batch.heirs:
            self._hand_on(change)
        for message in batch.told:
            told = self.run(message.run_id)
            if told is not None and told.status not in ENDED:
                self._put(told, message)
        for run, seen in zip(batch.updated, batch.seen, strict=True):
            if run.session is not None:
                run.due_at = _decode_run(store.runs[run.key]).due_at or 0
            elif self.inbox(run.id, seen):
                run.due_at = 0
            store.runs[run.key] = _encode(run)
        for key, heartbeat in batch.heartbeats:
            store.heartbeats[key, heartbeat.path] = heartbeat
        store.heartbeats = {
            where: heartbeat
            for where, heartbeat in store.heartbeats.items()
            if heartbeat.details is not None and where[0] not in batch.ended
        }
        batch.settle()

    def _put(self, run: Run, message: Message) -> Message:
        """Put a message into the inbox of a live run, which is due for it."""
        store = self._store
        store.last_message += 1
        numbered = msgspec.structs.replace(message, seq=store.last_message)
        store.inbox[run.key].append(_encode(numbered))
        store.runs[run.key] = _encode(msgspec.structs.replace(run, due_at=0))
        return numbered

    def _hand_on(self, change: Change) -> None:
        assert change.successor is not None
        for message in self.inbox(change.run.id):
            if message.seq not in change.received:
                self._store.last_message += 1
                copy = msgspec.structs.replace(
                    message, run_id=change.successor.id, seq=self._store.last_message
                )
                self._store.inbox[change.successor.key].append(_encode(copy))

    def close(self) -> None:
        if self._closed:
            return
        with self._store.lock:
            self._closed = True
            if self._session in self._store.living:
                self._store.living.remove(self._session)
                for key, tally in self._tallies.items():
                    run = _decode_run(self._store.runs[key])
                    released = msgspec.structs.replace(run, session=None, **msgspec.structs.asdict(tally))
                    self._store.runs[key] = _encode(released)

    def kill(self) -> None:
        """Be dead to all others, as if the process had been killed."""
        if self._session is not None:
            self._store.kill(self._session)

    @contextmanager
    def _writing(self) -> Iterator[MemoryStore]:
        """Alone in the store, having waited for it."""
        self._store.lock.acquire()
        with self._work():
            yield self._store

    @contextmanager
    def _work(self) -> Iterator[None]:
        """What is done with the lock held. Whoever refuses must do so before it changes anything."""
        try:
            if self._closed:
                raise StorageError("the journal cannot be used: it was closed", hint="open it again")
            yield
            self._store.version += 1
            self._own += 1
        finally:
            self._store.lock.release()

    def _joined(self) -> str:
        """The session of this journal, made when it is first needed. ``Fenced``."""
        if self._session is None:
            self._session = secrets.token_hex(16)
            self._store.living.add(self._session)
            self._heard = self._store.last_message
        if self._session in self._store.fenced:
            raise Fenced("this session was declared dead; others have taken over its runs")
        return self._session

    def _insert(self, run: Run) -> None:
        self._store.keys[run.id] = run.key
        self._store.runs[run.key] = _encode(run)
        self._store.rows[run.key] = []
        self._store.inbox[run.key] = []

    def _check_unique(self, batch: Batch) -> None:
        for run in batch.created:
            if run.id in self._store.keys:
                raise refusals.run_id_taken(run.id)
        seen: set[Identity] = set()
        for row in batch.rows:
            identity = row[1:6]
            if identity in self._store.identities or identity in seen:
                raise refusals.entry_exists(*identity[1:])
            seen.add(identity)

    def _tally_of(self, run: Run) -> Tally:
        if run.key in self._tallies:
            return self._tallies[run.key]
        return self._counted(run)

    def _counted(self, run: Run) -> Tally:
        rows = self._store.rows[run.key]
        return Tally(
            len(rows), sum(len(row[7].encode()) for row in rows), rows[-1][-1] if rows else genesis(run)
        )


def _has_attributes(run: Run, where: Where) -> bool:
    search = (run.attributes or {}).get("search", {})
    return all(
        name in search and any(values.equal(search[name], value) for value in wanted)
        for name, wanted in where
    )


def _is_due(run: Run, now: int) -> bool:
    return run.session is None and run.due_at is not None and run.due_at <= now
