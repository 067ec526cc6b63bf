"""Words from elsewhere, and how flowctl spells them.

People come from other workflow languages and type what they know. ``FOREIGN`` says, by the kind of mapping a
word was found in, what it is called here. Words are compared without regard to case, hyphens and humps, so
that ``maxAttempts`` and ``max-attempts`` are one entry.
"""

# ruff: noqa: E501 - a dictionary is read by the line
from __future__ import annotations

from collections.abc import Iterable, Mapping

from flowctl.document.spelling import certain, nearest, normalised

_STEP = {
    "run call action task function invoke operation execute command": "call an activity: 'activity: NAME' with 'with: {…}'",
    "uses": "in a step that is 'activity: NAME'; 'uses' belongs to the entries of 'activities'",
    "script shell": "call an activity that runs it: 'activity: NAME'",
    "print echo": "call the activity core.log or core.echo",
    "needs depends_on dependencies after requires": "steps run in the order of the list; what may run at once stands in 'parallel'",
    "when condition only_if guard": "write 'if'",
    "do sequence block tasks": "write 'steps'",
    "then next goto transition": "there are no jumps: use 'switch', or 'if' on the steps",
    "end stop exit finish succeed": "use 'return' to end the run, or 'fail'",
    "delay pause timer sleep_for": "write 'sleep', such as 'sleep: 1h'",
    "sleep_until wait_until": "write 'sleep: {until: TIMESTAMP}'",
    "wait": "write 'sleep' for a time, 'wait_for_signal' for a signal",
    "signal": "write 'wait_for_signal' to receive one, 'send_signal' to send one",
    "wait_for await listen event receive on approval approve callback": "write 'wait_for_signal', and declare the signal under 'signals'",
    "emit publish send notify": "write 'send_signal' for a run; everything else is an activity",
    "max_attempts retries max_retries attempts": "write 'retry: {attempts: N}', which counts tries, the first included",
    "backoff interval retry_policy": "it is part of 'retry: {attempts, delay, backoff, …}'",
    "name": "write 'id' to refer to the step, 'description' for people",
    "args arguments params parameters inputs input body payload": "write 'with: {…}'",
    "env environment": "pass values in 'with', secrets as ${{ secrets.NAME }}",
    "fork branches all race": "write 'parallel: {NAME: [...], …}'",
    "for each for_each loop map items with_items matrix iterate in": "write 'foreach: EXPRESSION' with 'as: NAME' and 'steps: [...]'",
    "repeat repeat_until do_while": "write 'while: CONDITION' or 'until: CONDITION' with 'steps: [...]'",
    "choice choose case cases match branch": "write 'switch: [{if: …, steps: [...]}, …, {else: [...]}]'",
    "else otherwise default": "it belongs in a 'switch': [{if: …, steps: [...]}, {else: [...]}]",
    "raise throw error": "write 'fail: {type: …, message: …}'",
    "rescue except on_error error_handler": "write 'try: [...]' with 'catch: {steps: [...]}'",
    "ensure always": "write 'try: [...]' with 'finally: [...]'",
    "undo revert compensation compensate_with on_rollback cancel_with": "write 'compensate: {activity: NAME, with: {…}}'",
    "continue_on_error ignore_errors allow_failure best_effort": "write 'optional: true'",
    "timeout_minutes timeout_seconds time_limit deadline": "write 'timeout' with a unit, such as 'timeout: 5m'",
    "heartbeat": "write 'heartbeat_timeout'",
    "subworkflow sub_workflow child_workflow child sub_flow": "write 'workflow: NAME'",
    "vars variables assign let set_fact export": "write 'set: {NAME: VALUE}', read as vars.NAME",
    "register save_as result outputs result_path": "give the step an 'id': its output is steps.ID.output; 'output' reshapes it",
    "label labels tags": "write 'metadata: {…}'",
    "sensitive": "write 'secret: true'",
}

_DOCUMENT = {
    "workflow id": "write 'name'",
    "jobs tasks states do nodes actions flow stages": "write 'steps: [...]', a list",
    "on triggers schedule cron": "flowctl run and flowctl start begin a run",
    "inputs params parameters arguments": "write 'input', a JSON Schema",
    "outputs result": "write 'output'",
    "env vars variables": "use a 'set' step, read as vars.NAME",
    "retry total_timeout heartbeat_timeout": "for all activities, write 'defaults: {…}'",
    "functions imports uses": "write 'activities: {NAME: {uses: …}}'",
    "events": "write 'signals: {NAME: {payload: …}}'",
    "api_version kind document namespace spec": "a document begins with 'dsl: 1' and 'name: …'",
    "start_at start": "the first step of 'steps' comes first",
    "title summary": "write 'description'",
    "schema_version": "write 'dsl: 1'",
    "compensate on_error": "it belongs to a step; 'on_failure' says what a failed run does",
}

_RETRY = {
    "max_attempts max count retries times limit maximum_attempts max_retries": "write 'attempts', which counts tries, the first included",
    "initial interval initial_interval initial_delay wait every seconds": "write 'delay'",
    "max_interval maximum_interval max_backoff cap": "write 'max_delay'",
    "multiplier coefficient backoff_coefficient backoff_rate rate exponent base": "write 'factor'",
    "never non_retryable_error_types ignore except exclude non_retryable_errors": "write 'non_retryable'",
    "on errors retry_on only error_equals retryable_errors": "write 'retryable'",
    "strategy policy type": "write 'backoff'",
    "timeout": "it belongs to the step: 'timeout' for one attempt, 'total_timeout' for all",
}

_COMPENSATE = {
    "uses call run action": "write 'activity'",
    "args arguments params input": "write 'with'",
    "when": "write 'after: completed' or 'after: attempted'",
    "on_error": "write 'on_failure: continue' or 'on_failure: stop'",
}

_SIGNAL = {"schema type properties": "write 'payload', a JSON Schema"}

_TEST_FILE = {
    "tests test scenarios examples": "write 'cases:', a list",
    "document file subject target": "write 'workflow: ./FILE.yaml'",
    "activities stubs fakes": "write 'mocks: {ACTIVITY: {return: …}}'",
    "plugins plugin_dir": "write 'plugins_dir: FOLDER'",
    "ledger": "write 'effects: {NAME: {done_by: ACTIVITY, undone_by: ACTIVITY}}'",
    "assertions properties": "write 'invariants: {SENTENCE: EXPRESSION}'",
}

_TEST_CASE = {
    "name title test id": "write 'case: …', a sentence about what holds",
    "activities stubs fakes mock": "write 'mocks: {ACTIVITY: {return: …}}'",
    "inputs with given params": "write 'input: {…}'",
    "signals": "write 'events: [{at: 5s, signal: NAME, payload: …}]'",
    "expected expects assert then should result": "write 'expect: {…}'",
    "faults errors crashes": "write 'failures: [{step: PATH, raise: TYPE}]'",
    "status output error steps calls": "it belongs into 'expect'",
}

_TEST_ACT = {
    "returns result output value": "write 'return'",
    "raises throw throws error fail fails": "write 'raise: TYPE', with 'message' if it has one",
    "delay takes duration sleep": "write 'after', such as 'after: 5s'",
    "expect with arguments called_with": "write 'args: {…}': what the arguments must be",
    "sequence by_call": "write 'calls: [...]'; a list of answers in place of the mapping is by attempt",
    "steps paths by_path": "write 'at: {PATH: {return: …}}'",
}

_TEST_EXPECT = {
    "exact_output result return": "write 'output', which is exact, or 'output_includes'",
    "undone compensated": "write 'compensations: [PATH, …]'",
    "path paths sequence": "write 'order: [PATH, …]'",
    "arguments": "write 'args', which is exact, or 'args_include'",
    "duration total_time time took": "write 'elapsed', in virtual time",
    "errors": "write 'error: {type: …}'",
    "assert invariants": "write 'that: {SENTENCE: EXPRESSION}'",
}

FOREIGN: Mapping[str, Mapping[str, str]] = {
    kind: {word: hint for words, hint in table.items() for word in words.split()}
    for kind, table in {
        "step": _STEP,
        "document": _DOCUMENT,
        "retry": _RETRY,
        "compensate": _COMPENSATE,
        "signal": _SIGNAL,
        "test_file": _TEST_FILE,
        "test_case": _TEST_CASE,
        "test_mock": _TEST_ACT,
        "test_answers": _TEST_ACT,
        "test_act": _TEST_ACT,
        "test_expect": _TEST_EXPECT,
        "test_event": {
            "when after time": "write 'at: 5s', counted from the start of the run",
            "data body": "write 'payload'",
            "name": "write 'signal: NAME'",
            "crash kill": "write 'lose_worker: 3s': for how long nobody is there",
        },
        "test_failure": {
            "path at": "write 'step: PATH'",
            "timeout": "write 'time_out: before' or 'time_out: after': the effect",
            "crash kill worker_lost": "write 'lose_worker: before' or 'lose_worker: after': the effect",
            "error fail": "write 'raise: TYPE'",
        },
        "test_effect": {
            "does activity by": "write 'done_by: ACTIVITY'",
            "undoes compensated_by": "write 'undone_by: ACTIVITY'",
            "id key known_by": "write 'done_as: EXPRESSION' and 'undone_as: EXPRESSION'",
            "permanent irreversible keeps": "write 'lasting: true'",
            "when": "write 'if'",
        },
    }.items()
}
"""Hints by kind of mapping and normalised word."""


_RENAMED = {
    "step": {
        "activity": "call action task function invoke operation run uses",
        "if": "when condition only_if guard",
        "steps": "do sequence block tasks",
        "sleep": "delay pause timer sleep_for wait",
        "wait_for_signal": "wait_for await listen event receive signal",
        "with": "args arguments params parameters inputs input",
        "parallel": "fork branches",
        "foreach": "for each for_each",
        "until": "repeat_until",
        "while": "do_while",
        "switch": "choice choose case cases",
        "fail": "raise throw",
        "compensate": "undo revert compensation compensate_with",
        "optional": "continue_on_error ignore_errors allow_failure",
        "timeout": "time_limit deadline",
        "heartbeat_timeout": "heartbeat",
        "workflow": "subworkflow sub_workflow child_workflow child sub_flow",
        "set": "vars variables assign let set_fact",
        "metadata": "labels",
        "secret": "sensitive",
    },
    "document": {
        "name": "workflow",
        "steps": "tasks jobs stages",
        "output": "outputs",
        "description": "title summary",
        "dsl": "schema_version",
    },
    "retry": {
        "attempts": "max_attempts maximum_attempts",
        "delay": "initial interval initial_interval initial_delay",
        "max_delay": "max_interval maximum_interval max_backoff",
        "factor": "multiplier coefficient backoff_coefficient backoff_rate",
        "non_retryable": "non_retryable_error_types non_retryable_errors",
        "retryable": "retryable_errors error_equals retry_on",
        "backoff": "strategy",
    },
    "compensate": {
        "activity": "uses call run action",
        "with": "args arguments params input",
        "after": "when",
    },
    "signal": {"payload": "schema"},
}
"""Foreign words that mean what a word here means, if the value fits too. ``max_retries`` is not among them: it
counts one try less than ``attempts``.
"""

RENAMED: Mapping[str, Mapping[str, str]] = {
    kind: {word: right for right, words in table.items() for word in words.split()}
    for kind, table in _RENAMED.items()
}


def instead(word: str, kind: str, known: Iterable[str]) -> str | None:
    """The known word to write for ``word``, if that is certain: it is another system's name for the same
    thing, or misspelt so that nothing else can be meant.
    """
    known = list(known)
    renamed = RENAMED.get(kind, {}).get(normalised(word))
    if renamed is None and normalised(word) in FOREIGN.get(kind, {}):
        return None
    return renamed if renamed in known else certain(word, known)


def meant(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` is a misspelling of."""
    known = list(known)
    plain = normalised(word)
    return plain if plain in known else nearest(word, known)


def hint(word: str, kind: str, known: Iterable[str]) -> str | None:
    """What to write instead of ``word``: its name here or the nearest known word; None if nothing is near."""
    known = list(known)
    foreign = FOREIGN.get(kind, {}).get(normalised(word))
    if foreign is not None:
        return foreign
    near = meant(word, known)
    if near is not None:
        return f"did you mean '{near}'?"
    return f"known here: {', '.join(known)}" if 0 < len(known) <= 8 else None
