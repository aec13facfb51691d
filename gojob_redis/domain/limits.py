"""Every limit, default and unit, once.

The unit is the end of the name: ``_MS`` (time), ``_BYTES``, ``_CHARS``; a name without one counts things. ``config.py``
takes its defaults from here; nobody repeats a number in a signature. Lua gets what it needs as arguments. The sentence
below a limit is its row in ``docs/limits.md``, which is made from this file.
"""

from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
KIB: Final = 1_024
MIB: Final = 1_024 * KIB

# --- Names, labels --------------------------------------------------------------------------------------------------
NAME_CHARS: Final = 64
"""A name of a namespace, app, handler, trigger or worker."""
LABEL_CHARS: Final = 64
"""A key or a value of a label or an attribute."""
LABELS_PER_SESSION: Final = 16
"""Labels that a worker may offer."""
LABELS_PER_TASK: Final = 16
"""Labels that a task may require."""
ATTRIBUTES_PER_SESSION: Final = 8
"""Attributes that a worker may offer."""
ATTRIBUTES_PER_TASK: Final = 1
"""Attributes that a task may require."""
IDEMPOTENCY_KEY_CHARS: Final = 128
"""An Idempotency-Key."""
OWNER_BYTES: Final = 128
"""The owner of a trigger."""

# --- Payloads -------------------------------------------------------------------------------------------------------
PARAM_BYTES: Final = 256 * KIB
"""Parameters of a task, or of one of its shards, packed."""
INLINE_PARAM_BYTES: Final = 64
"""A longer payload has a key of its own: one value over 64 bytes turns the whole hash from 249 into 745 bytes."""
INBOX_PARAM_BYTES: Final = 4 * KIB
"""A longer payload is not copied to the inbox; the gateway fetches it."""

# --- The edge -------------------------------------------------------------------------------------------------------
HTTP_PORT: Final = 8_700
"""Where a gateway listens, and where clients and workers look for it, unless they are told otherwise."""
FRAME_BYTES: Final = 1 * MIB
"""A frame of a worker."""
BODY_BYTES: Final = 1 * MIB
"""The body of a request."""
BULK_BODY_BYTES: Final = 8 * MIB
"""The body of a request with many tasks."""
JSON_DEPTH: Final = 32
"""How deep a document may be nested."""
JSON_VALUES: Final = 100_000
"""Commas, colons and opening brackets in a body, and each 32 digits of its numbers: what it costs to parse it."""
BODY_FIELDS: Final = 64
"""Fields of an object whose fields have names of ours."""
HEADERS_BYTES: Final = 32 * KIB
"""All headers of a request."""
HEADERS: Final = 100
"""Headers of a request."""
URL_BYTES: Final = 8 * KIB
"""A URL."""
PIPELINED: Final = 16
"""Requests that a connection may send ahead of the answers."""
REQUESTS_AT_ONCE: Final = 8
"""Requests of one token, or of one address without one, that a gateway works on at the same time; further ones wait."""
REQUESTS_WAITING: Final = 1_000
"""Requests of one token or address that wait for their turn."""
LARGE_BODY_BYTES: Final = 64 * KIB
"""A longer body is read only while few others of its token are."""
LARGE_BODIES: Final = 4
"""Requests of one token with such a body that a gateway reads or works on at the same time; those of others wait."""
HEAD_MS: Final = 10 * SECOND_MS
"""From the first byte of a request to the last of its headers; also how long a connection may pause between two
requests while no valid token came over it."""
KEEP_ALIVE_MS: Final = 75 * SECOND_MS
"""How long it may pause after one did: longer than balancers keep theirs, so that none is closed under a request."""
BODY_MS: Final = 30 * SECOND_MS
"""How long a body may take to arrive."""
UNREAD_MS: Final = 3 * SECOND_MS
"""How long the rest of a body that nobody reads is thrown away, before its connection is closed."""
WRITE_MS: Final = 10 * SECOND_MS
"""A peer that takes nothing for this long is cut off."""
STRANGERS: Final = 1_000
"""Connections that may stay without having shown a valid token."""
STRANGERS_PER_ADDRESS: Final = 100
"""Of them, those from one address."""
METRIC_HANDLERS: Final = 50
"""Handlers with series of their own in `/metrics`; all others share the series `other`."""
METRIC_HANDLERS_READ: Final = 1_000
"""Handlers among which they are chosen: those that were announced last."""
STATS_BUCKETS: Final = 3_000
"""Buckets of statistics in one answer."""
OVERVIEW_BUCKETS: Final = 150
"""Steps of an overview: it reads as many of each of the 100 busiest apps and handlers."""
QUEUES_READ: Final = 2_000
"""Queues among which a list finds those with the most or oldest work; of more, those that were announced last."""
GAUGE_LANES: Final = 500
"""Lanes after which one call that tells what waits ends: about 1 ms."""
SURVEY_SESSIONS: Final = 100
"""Workers that one call reads that tells who could take the work; the others are only counted."""
SURVEY_RECORD_BYTES: Final = 4 * KIB
"""Names of the handlers of a worker group that such a call searches as a text."""
SURVEY_LOOKS: Final = 500
"""Worker groups, and workers of which only the group is read, after which such a call ends: about 2 ms."""
TIMELINE_BUCKETS: Final = 500
"""Steps of a time line."""
TIMELINE_ROWS: Final = 50
"""Rows of a time line; those with the most are shown."""
FORECAST_AHEAD_MS: Final = 7 * DAY_MS
"""How far ahead fires are planned."""
FORECAST_RULES: Final = 50_000
"""Different pairs of handler and schedule in an app whose fires are planned; the rest is not covered."""
FORECAST_CPU_MS: Final = SECOND_MS
"""Time of a processor that planning the fires of one app may take; rules that do not fit are not covered."""
FORECAST_MS: Final = 2 * SECOND_MS
"""After so long an answer takes no further apps into its forecast."""
PAGE_ITEMS: Final = 500
"""Items of one page of a list."""
KEY_PREFIX_LETTERS: Final = 3
"""A search looks for tasks whose key begins with so many letters or more; fewer would be the beginning of too many."""
SEARCH_CARDS: Final = 4_000
"""Triggers that one page of a search looks at by their cards; the next page goes on behind them."""
SEARCH_AT_ONCE: Final = 1_000
"""Of them, those that are read at once: two commands of about 0.1 ms."""
SEARCH_READ: Final = 500
"""The same of a search that has to read each of them, as for those that never fired."""
SEARCH_APPS: Final = 1_000
"""Apps that one page of a search goes through."""
NAMES_KEPT_CHARS: Final = 16 * MIB
"""Characters of names that a gateway keeps to find them by any part. Apps behind that are left out; answers say so."""
COUNTED_CARDS: Final = 10_000
"""Triggers among which a page counts those of each state."""
ANSWER_BYTES: Final = 1 * MIB
"""Parameters, results and errors that one answer shows together; what does not fit is given by reference."""
ANSWER_ELEMENTS: Final = 10_000
"""Numbers, texts, lists and maps in them: to unpack as many takes 15 ms at worst."""
PARAM_ELEMENTS: Final = 50_000
"""Numbers, texts, lists and maps in the parameters of one task or trigger."""
HELLO_MS: Final = 5 * SECOND_MS
"""How long a worker may take from connecting to its hello."""
IDEMPOTENCY_MS: Final = 24 * HOUR_MS
"""How long an Idempotency-Key is remembered."""
STREAM_TOPICS: Final = 32
"""Topics of one stream."""
STREAMS: Final = 2_000
"""Streams that a gateway keeps open; further ones are told to come again, or to another."""
STREAMS_PER_TOKEN: Final = 600
"""Of them, those of one token."""
STREAM_LOOK_MS: Final = 250
"""How often a gateway looks what changed while somebody listens: a state that lasts shorter is not told."""
STREAM_BATCH_MS: Final = 100
"""From one batch of a stream to the next."""
STREAM_HEARTBEAT_MS: Final = 15 * SECOND_MS
"""How long a stream is silent while nothing happens."""
STREAM_QUEUES_MS: Final = 2 * SECOND_MS
"""How often a gateway looks at the queues that somebody listens to."""
STREAM_BUFFER_BYTES: Final = 512 * KIB
"""What may wait for a listener that takes nothing; one that is further behind is dropped."""
STREAM_BUFFER_ITEMS: Final = 1_000
"""The same in messages."""
STREAM_TASKS: Final = 200
"""Tasks that one message tells; how many changed besides is said."""
STREAM_QUEUES: Final = 100
"""Handlers whose queues one message tells."""
STREAM_EVENTS: Final = 1_000
"""Events that are told again to a listener who comes back; with more he is told to read the list again."""
STREAM_STATS_MS: Final = 2 * SECOND_MS
"""How often a gateway looks at the figures that somebody listens to."""
STREAM_STATS_AT_ONCE: Final = 1_000
"""Topics of figures that the streams of one gateway listen to together."""
STREAM_LOGS: Final = 8
"""Topics of one stream that are logs."""
STREAM_LOGS_AT_ONCE: Final = 500
"""Logs that the streams of one gateway follow together."""
STREAM_LOG_LINES: Final = 1_000
"""Log lines that one message tells; further ones are in the next."""
STREAM_LOG_BYTES: Final = 128 * KIB
"""The same in bytes of text. A log waits in the engine for a listener who takes nothing."""
TOKEN_REVOKED_MS: Final = 10 * SECOND_MS
"""Live sockets of a revoked token are closed within this time."""

# --- What handlers tell ---------------------------------------------------------------------------------------------
SPECS_PER_HANDLER: Final = 16
"""Versions of a handler that are known; the one that was heard longest ago goes first."""
SPEC_MS: Final = 30 * DAY_MS
"""How long a version is known after it was last heard."""
SPEC_LIVE_MS: Final = 3 * MINUTE_MS
"""A version that was heard in this time counts: parameters that fit it are taken."""
SPEC_TOLD_MS: Final = MINUTE_MS
"""How often a gateway says which versions its workers have."""
SCHEMA_DEPTH: Final = 100
"""How deep a check goes, references included; what lies deeper is left to the worker."""
SCHEMA_STEPS: Final = 5_000
"""Steps of one check: about 5 ms; what is left then is left to the worker."""
SCHEMA_PATTERNS: Final = 16
"""Patterns of a schema that are matched; the others are left to the worker."""
PATTERN_CHARS: Final = 100
"""A pattern, and the sum of its counts; a longer one is left to the worker: to build it could take 100 ms."""
PATTERN_TEXT_CHARS: Final = 1_000
"""A longer text is not matched here."""
SCHEMA_NODES_READY: Final = 30_000
"""Maps of schemas that a gateway keeps ready for checks: about 1.5 KiB each."""

# --- Scripts --------------------------------------------------------------------------------------------------------
BATCH_ITEMS: Final = 100
"""Items of one call of a script."""
BATCH_BYTES: Final = 256 * KIB
"""Payloads of one call of a script."""
FIRE_FIRST_ITEMS: Final = 25
"""Slots in the first call of a crowd; each further call takes twice as many, up to ``FIRE_ITEMS``."""
FIRE_ITEMS: Final = 50
"""Slots of one call: 1.2 ms without workers; a hundred took over 5 ms now and then, and fired no faster."""
FIRE_STORM_ITEMS: Final = 20
"""Slots of one call in a storm. The append-only file doubles in it, and the first call after the engine forked to write
it anew copies every page it changes: 7.7 ms for 50 slots, 4.6 for 25, 2.6 for 10."""
FIRE_CPU_US: Final = 2_000
"""What a call may work on its slots before it stops with fewer; to bind them may take as much again (``SCRIPT_MS``)."""
CALL_HEADS: Final = 20
"""Apps, handlers, leases or gateways that one call takes up; the others wait for the next."""
LEFT_ITEMS: Final = 200
"""Entries of a later release that one call passes over, in an index, to reach what stands behind them."""
LEFT_MS: Final = SECOND_MS
"""Until entries of a later release that are due, and left alone, are looked at again."""
POOL_SESSIONS: Final = 400
"""Waiting sessions that one call looks at for a free seat."""
ENLIST_HANDLERS: Final = 1_000
"""Handlers that one call announces, unless a single worker has more."""
OPEN_LANES: Final = 100
"""Lanes that one call looks at to show them to new worker groups; a handler counts as a quarter of one."""
CLOSE_LANES: Final = 400
"""Lanes that one call takes away from worker groups that are gone."""
KEY_CHARS: Final = 128
"""A key that a caller gives a task, to find it by."""
CHILDREN: Final = 10_000
"""Children of a task in one partition: further submissions of its runs, and retries, are refused."""
RUN_PROOF_CHARS: Final = 128
"""What a run proves with that it is the one that submits a task."""
TRACEPARENT_CHARS: Final = 55
"""The trace that a task belongs to, as W3C Trace Context writes it."""
RETIRE_LOOKS: Final = 500
"""Ended tasks that one call of the retention looks at; those that it leaves are passed over by the next."""
RETIRE_LANES: Final = 250
"""Lanes that one call looks at for tasks which waited too long."""
LANE_SEARCH_HANDLERS: Final = 200
"""Handlers among which a lane is looked for whose record cannot be read."""
GROUP_SAMPLE_SESSIONS: Final = 16
"""Workers of a group that a repair asks for the attributes they offer."""
FOLD_ITEMS: Final = 400
"""Sums that one call writes of what happened, about: 2 ms."""
FOLD_BYTES: Final = 64 * KIB
"""What is read of the tally for one call, about."""
ROLL_SUBJECTS: Final = 40
"""Handlers and apps whose half-hours one call writes."""
SCRIPT_MS: Final = 5
"""No script may take longer: one that would stops at its bound and answers ``more``."""

# --- Jobs on many tasks or triggers -----------------------------------------------------------------------------------
JOB_IDS: Final = 10_000
"""Ids that one job may be given."""
JOBS_AT_ONCE: Final = 10
"""Jobs of a namespace that are not over."""
JOBS_AT_ONCE_IN_ALL: Final = 200
"""Jobs of all namespaces that are not over."""
JOBS_KEPT: Final = 1_000
"""Jobs of a namespace that are kept; the oldest that are over go first."""
JOB_MS: Final = 7 * DAY_MS
"""A job that is not over after this time is canceled."""
JOB_KEPT_MS: Final = 7 * DAY_MS
"""How long a job is kept after its end."""
JOB_TRACE_MS: Final = 15 * DAY_MS
"""How long a partition keeps what it did for a job: longer than a job can last and be kept."""
JOB_SAMPLES: Final = 20
"""Tasks or triggers that a job skipped or that failed, of each partition, that are told with the reason."""
WALK_TOLD_MS: Final = 10 * MINUTE_MS
"""How long a job that goes through an app is told of tasks that go back, after its last call."""
JOB_CPU_US: Final = 1_000
"""What a call for a job may work before it stops with fewer; to bind what it made may take as much again."""
WALK_ITEMS: Final = 500
"""Tasks that one call for a job, or of a count, looks at."""
WALK_PAGE: Final = 100
"""Entries of an index that such a call reads at a time."""
WALK_LOOKS: Final = 5
"""After so many, such a call looks at the clock."""
COUNT_EXACT: Final = 10_000
"""Up to this number a dry run counts exactly."""

# --- Who is alive ---------------------------------------------------------------------------------------------------
LEASE_MS: Final = 15 * SECOND_MS
"""How long a worker may be silent before its runs are lost."""
HEARTBEAT_MS: Final = 5 * SECOND_MS
"""How often a worker is heard."""
RENEW_EVERY_MS: Final = 5 * SECOND_MS
"""How often a gateway renews the leases of its workers."""
RENEW_DEADLINE_MS: Final = 2 * SECOND_MS
"""How long a renewal may take."""
GATEWAY_UNREACHABLE_MS: Final = 5 * SECOND_MS
"""A gateway that could not renew for this long tells its workers to move."""
GATEWAY_STAMP_MS: Final = 1 * SECOND_MS
"""How often a gateway says that it lives."""
GATEWAY_SILENT_MS: Final = 3 * SECOND_MS
"""Match skips the sessions of a gateway that did not stamp itself for this long."""
GATEWAY_REAP_MS: Final = 60 * SECOND_MS
"""After so long a silence a gateway is forgotten, and its inboxes with it."""
CARDS_A_DAY: Final = 10_000
"""Ended sessions of an app and day whose worker is still told (host, process, SDK, address)."""
CARDS_MS: Final = 22 * DAY_MS
"""How long the cards of a day are kept, from its last one; where tasks are kept longer, 8 days longer than these."""
CARDS_SPARE_MS: Final = 8 * DAY_MS
"""So much longer than tasks, which may end after the session that ran them."""
GROUP_OPENING_MS: Final = 60 * SECOND_MS
"""How long an announcement that takes several calls may pause before its worker group is given up."""
LIST_AGE_MS: Final = 30 * SECOND_MS
"""How old the list may be that a worker sends of what it holds: what began later need not be on it."""
LIST_STANDSTILL_MS: Final = 5 * SECOND_MS
"""After an engine stood still for more than a second, no list loses a run for this long."""

# --- A run's life ---------------------------------------------------------------------------------------------------
ACCEPT_MS: Final = 5 * SECOND_MS
"""How long a worker may take to begin a run that was bound to it."""
CANCEL_GRACE_MS: Final = 10 * SECOND_MS
"""How long a run may take to end after it was asked to."""
CANCEL_RESEND_MS: Final = 2 * SECOND_MS
"""How often a cancel is sent until the worker acknowledged it."""
LOG_LATE_MS: Final = 10 * SECOND_MS
"""How long after the end of its run a log line is still kept."""
SOLO_LOOK_MS: Final = 500
"""How often a run that has to be alone looks for a worker without runs."""
MISFIRE_AFTER_MS: Final = 60 * SECOND_MS
"""From this lateness on, a slot is misfired, unless the trigger says otherwise."""
QUEUE_LIMIT_MS: Final = 7 * DAY_MS
"""How long a task may wait for its first start, unless it says otherwise."""
SHARDS: Final = 10_000
"""Shards of a task."""
RETRIES: Final = 100
"""Attempts after failures."""
REJECTS: Final = 20
"""Times that workers may hand a run back before it faults."""
SNOOZES: Final = 1_000
"""Times that a handler may put its run off; one more, and the run faults as `snoozes`."""
UNCOUNTED: Final = 20
"""Failures of a run that its worker may not want counted; one more, and the run faults as `uncounted`."""
REPORT_DELAY_MS: Final = 7 * DAY_MS
"""How long a report may put the next attempt off."""
UNACCEPTED: Final = 100
"""Times that a run may be bound and not begun before it faults."""
LOSSES: Final = 3
"""Workers that a run may lose before it faults as `poison`."""
ABNORMAL_ATTEMPTS: Final = 16
"""Attempts that are kept of a run."""
ATTEMPT_ERROR_BYTES: Final = 1 * KIB
"""An error that is kept with the attempt it ended; a longer one is kept of the last attempt alone."""
PRIORITY: Final = 5
"""The usual priority."""
PRIORITY_MIN: Final = 0
"""The lowest priority."""
PRIORITY_MAX: Final = 9
"""The highest priority."""

# --- Logs -----------------------------------------------------------------------------------------------------------
# The first three are what a namespace gets unless its settings say otherwise.
LOG_PER_RUN_BYTES: Final = 1 * MIB
"""Packed log lines that are kept of a run; the oldest behind its beginning go first."""
LOG_PER_RUN_LINES: Final = 10_000
"""The same in lines."""
LOG_PER_APP_BYTES: Final = 64 * MIB
"""Packed log lines of all runs of an app; what ran longest ago loses its log first."""
LOG_HEAD_LINES: Final = 100
"""The beginning of a log, which stays as long as the log does."""
LOG_HEAD_BYTES: Final = 128 * KIB
"""The same in packed bytes."""
LOG_CHUNK_BYTES: Final = 16 * KIB
"""Lines of one run that are packed together; a longer line is a chunk of its own."""
LOG_CHUNK_MS: Final = 100
"""How long lines wait at a gateway for others of their run."""
LOG_CHUNK_COST_BYTES: Final = 100
"""What a chunk is counted as besides its bytes."""
LOG_SUMS_BYTES: Final = 150
"""The counts of a log as they are written; more is nonsense."""
LOG_UNPACKED_BYTES: Final = 256 * KIB
"""What unpacks to more is no chunk of ours, and is shown as damaged."""
LOG_SEARCH_BYTES: Final = 8 * MIB
"""Unpacked lines that one page of a log looks through at most."""
LOG_SHED_RUNS: Final = 50
"""Logs that one call drops at most where an app has too many."""
LOG_RUN_LINES_EACH_SECOND: Final = 2_000
"""Log lines that a gateway takes of one run, after a burst of five seconds' worth; 256 bytes count as one line more."""
LOG_APP_LINES_EACH_SECOND: Final = 20_000
"""The same of one app."""
LOG_WAITING_BYTES: Final = 32 * MIB
"""Log lines that wait at a gateway for the engine; further ones are dropped, and counted."""

# --- Sizes of structures --------------------------------------------------------------------------------------------
PARTITIONS: Final = 16
"""Partitions of an installation, unless its first start says otherwise."""
HANDLERS_PER_SESSION: Final = 1_024
"""Handlers of a worker."""
LANES_PER_HANDLER: Final = 256
"""Sets of required labels in which tasks of a handler wait."""
GROUPS_PER_LANE: Final = 16
"""Kinds of workers (sets of handlers, with labels) that may serve a lane."""
QUEUED_PER_HANDLER: Final = 1_000_000
"""Tasks that may wait for a handler."""
EVENTS_PER_PARTITION: Final = 100_000
"""Events that are kept of a partition which belong to no app."""
EVENTS_PER_APP: Final = 2_000
"""Events that are kept of an app."""
EVENTS_KEPT_MS: Final = 7 * DAY_MS
"""How long an event of an app is kept."""
EVENTS_EACH_MINUTE: Final = 100
"""Events of one kind and handler in a minute; those that follow share one entry with their number."""
TALLY_ENTRIES: Final = 50_000
"""Calls of scripts in a partition whose effects wait to be added up; the oldest go first, and leave a `stats_gap`."""
CHANGES_ITEMS: Final = 1_000
"""Calls of scripts in a partition whose changes are kept for those who watch; who is further behind reads anew."""
CHANGES_READ: Final = 200
"""Of them, those that one call tells."""
CHANGES_KEPT_MS: Final = 60 * SECOND_MS
"""How long these are kept after the last who watched."""
WATCHED_MS: Final = 15 * SECOND_MS
"""How long scripts leave what they change after somebody said that he watches."""
WAKE_ITEMS: Final = 1_000
"""Hints in a partition that something is due soon; the oldest go first."""
INBOX_ITEMS: Final = 10_000
"""Hints that wait in a partition for a gateway; the oldest go first, and cost their runs the accept limit."""
HANDLER_KNOWN_MS: Final = 30 * DAY_MS
"""How long a handler is known after it was last announced."""

FORGET_APPS: Final = 200
"""Apps that a replica looks at in a minute, whether they have nothing any more."""

# --- What one namespace may have ------------------------------------------------------------------------------------
# Unless its settings say otherwise (``PUT /v1/namespaces/{namespace}``, ``limits``).
APPS: Final = 100_000
"""Apps of all namespaces together."""
APPS_PER_NAMESPACE: Final = 1_000
"""Apps that were seen in a namespace; those that have nothing any more for 60 days are forgotten."""
HANDLERS_PER_APP: Final = 10_000
"""Handlers that were announced or used in an app; they are forgotten with it."""
LANES_PER_APP: Final = 10_000
"""Queues of an app: one for each handler and set of required labels and attribute."""
TRIGGERS_PER_APP: Final = 200_000
"""Triggers of an app."""
DELAYED_PER_APP: Final = 1_000_000
"""Tasks of an app that wait for their time; what a retry waits for does not count."""
SOCKETS_PER_NAMESPACE: Final = 15_000
"""Workers of a namespace at one gateway."""
SOCKETS_PER_TOKEN: Final = 10_000
"""Workers of one token at one gateway."""
POLLS_PER_NAMESPACE: Final = 2_000
"""Requests of a namespace that wait for the end of a task at one gateway."""
POLLS_PER_TOKEN: Final = 1_000
"""Requests of one token that wait for the end of a task at one gateway."""
QUOTA_MAX: Final = 1_000_000_000
"""What each of these may be set to at most."""

# --- Schedules ------------------------------------------------------------------------------------------------------
AGENDA_MAX: Final = 64
"""Slots that are planned ahead of a trigger."""
AGENDA_DAYS: Final = 7
"""How far ahead they are planned."""
COMPARED_SLOTS: Final = 500
"""Slots of an old and a new schedule that a dry run compares one by one; further ones are only counted."""
CRON_CHARS: Final = 256
"""A cron rule."""
EVERY_MIN_MS: Final = 100
"""Below this a timer belongs into the worker: a slot costs a ledger entry and a task."""
EVERY_MAX_MS: Final = 3_660 * DAY_MS
"""The longest interval of a fixed rate."""
LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01T00:00Z: no slot lies at or after it."""

# --- Clocks and loops -----------------------------------------------------------------------------------------------
STEADY_STEP_MS: Final = 1 * SECOND_MS
"""The steady clock moves at most this far per visit, so that a pause or a jump takes no more of any lease."""
STEADY_WRITE_MS: Final = 100
"""The steady clock is written back when it moved so far."""
LOOK_EVERY_MS: Final = 500
"""Trigger replicas look at all heads this often, whatever the wake streams say."""
WAKE_AHEAD_MS: Final = 500
"""A head that is nearer than this is announced to the trigger replicas."""
PREFERRED_LATE_MS: Final = 100
"""Other replicas act on a partition when its head is later than this."""
REDIS_DEADLINE_MS: Final = 15 * SECOND_MS
"""How long a call of the engine is repeated before it is given up."""
ANSWER_MS: Final = 5 * SECOND_MS
"""How long somebody who waits for an answer over HTTP has to wait before hearing that the engine is away."""
CONFIRM_MS: Final = 1 * SECOND_MS
"""How long a replica or the disk has to confirm what a namespace wants confirmed; shorter than any socket's timeout."""

# --- Following defaults -----------------------------------------------------------------------------------------------
FOLLOW_LOOK_MS: Final = 2 * SECOND_MS
"""How often a replica asks whether defaults of policies changed, so that triggers follow within seconds."""
FOLLOW_AGAIN_MS: Final = 15 * SECOND_MS
"""When triggers are gone through again after a change: gateways remember older defaults for 10 s."""
FOLLOW_WHOLE_MS: Final = 5 * MINUTE_MS
"""How often they are gone through when nothing tells of a change."""

# --- Auditing and scrubbing -------------------------------------------------------------------------------------------
AUDIT_EVERY_MS: Final = 8 * SECOND_MS
"""What can be found is told within 10 s."""
AUDIT_ITEMS: Final = 25
"""Triggers that one call of the audit looks at, and findings that one call writes down: about 0.6 ms."""
AUDIT_ENTRIES: Final = 1_000
"""Ledger entries of one partition that are compared in one pass."""
OVERDUE_MS: Final = 5 * SECOND_MS
"""A due slot that nobody handled for this long is told."""
SCRUB_WHOLE_MS: Final = 10 * MINUTE_MS
"""In this time the scrubber has looked at every key once."""
SCRUB_NAMES: Final = 50
"""Keys that one call of it looks at: about 2 ms."""
SCRUB_PAGE: Final = 50
"""Members of one index that are read at a time."""
SCRUB_MEMBERS: Final = 500
"""Members of indexes that one call of it looks at."""

# --- What is kept ---------------------------------------------------------------------------------------------------
LEDGER_ENTRIES: Final = 1_000
"""Entries that are kept of the ledger of a trigger."""
LEDGER_MS: Final = 30 * DAY_MS
"""How long they are kept."""
REMOVED_LISTED: Final = 10_000
"""Removed triggers that an app lists, the newest; a ledger is kept also of those that it lists no more."""
HISTORY_MS: Final = 7 * DAY_MS
"""How long a task is kept after it ran to completion."""
HISTORY_MIN_MS: Final = 60 * SECOND_MS
"""Nothing terminal is retired earlier: a repeated report has to find it."""
HISTORY_PER_HANDLER: Final = 10_000
"""Tasks of a handler that ran to completion and are kept."""
FAILED_MS: Final = 14 * DAY_MS
"""How long a task is kept after it faulted or was canceled."""
FAILED_PER_APP: Final = 20_000
"""Tasks of an app that faulted or were canceled and are kept."""
PINNED_PER_HANDLER: Final = 1_000
"""Ended tasks of a handler that somebody wants kept; of more the oldest go."""
RETENTION_MAX_MS: Final = 3_660 * DAY_MS
"""The longest time that ended tasks may be kept by a setting."""
RETENTION_MAX: Final = 1_000_000
"""Ended tasks that a setting may have kept of a handler or an app."""
RETENTION_MAX_BYTES: Final = 1_099_511_627_776
"""Bytes of ended tasks that a setting may have kept of a handler or an app."""
SEARCH_LOOKS: Final = 500
"""Tasks that one call of a search looks at: about 1.1 ms."""
SEARCH_CALLS: Final = 8
"""Times that one page of a search asks each partition at most; then it says how far it looked."""
SEARCH_PASSES: Final = 10
"""Triggers in a due index that a search passes over at the price of one look."""
SEARCH_CHUNK: Final = 20
"""Members of one index that a search reads at a time."""
SEARCH_INDEXES: Final = 100
"""Handlers, apps, lanes or sessions that one call of a search looks at."""
FACET_LOOKS: Final = 10_000
"""Tasks that are looked at to count them, of those that are over and of the others; more of them are not counted."""
SEARCH_HANDLERS: Final = 800
"""Handlers of an app that a search looks at; of a namespace or an installation, those of each partition that are
announced."""
STATS_MINUTES_MS: Final = 3 * HOUR_MS
"""How long it is known what happened in a minute."""
STATS_TENS_MS: Final = 3 * DAY_MS
"""How long it is known what happened in ten minutes."""
STATS_HALVES_MS: Final = 60 * DAY_MS
"""How long it is known what happened in half an hour, and, after the last thing that happened, what happened in all."""
STATS_SLOWEST: Final = 50
"""The longest tasks of a handler in an hour that are remembered."""
STATS_SLOWEST_MS: Final = DAY_MS
"""How long they are."""
FAILURES_PER_APP: Final = 200
"""Kinds of failures of an app that are told apart; the one that was seen longest ago makes room for a new one."""
SLOW_LISTS: Final = 4_000
"""Lists of the longest tasks, each of a handler and hour, that a page reads; of many handlers the last hours."""
SLOW_READ: Final = 1_000
"""Of the tasks in them, those that a page compares with what is asked for; the next page goes on behind them."""
STATS_DAYS_MS: Final = 400 * DAY_MS
"""How long it is known how the tasks of a trigger ended on a day."""
STATS_BLOCK_MS: Final = 32 * DAY_MS
"""Days of a trigger that lie under one key."""
RING_ENDS: Final = 200
"""The last ends of tasks of a trigger that are remembered, and up to twice as many."""
RING_BYTES: Final = 8
"""What each of them takes."""
MEMORY_HIGH_PERCENT: Final = 80
"""From this share of maxmemory on, history is kept shorter: none beyond the 60 s when memory is full."""
