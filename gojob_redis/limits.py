"""Every limit, default and unit, once.

The unit is the end of the name: ``_MS`` (time), ``_BYTES``, ``_CHARS``; a name without one counts things. ``config.py``
takes its defaults from here; nobody repeats a number in a signature. Lua gets what it needs as arguments.
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
LABEL_CHARS: Final = 64
LABELS_PER_SESSION: Final = 16
LABELS_PER_TASK: Final = 16
ATTRIBUTES_PER_SESSION: Final = 8
ATTRIBUTES_PER_TASK: Final = 1
TASK_ID_CHARS: Final = 20
IDEMPOTENCY_KEY_CHARS: Final = 128

# --- Payloads -------------------------------------------------------------------------------------------------------
PARAM_BYTES: Final = 256 * KIB
RESULT_BYTES: Final = 256 * KIB
ERROR_BYTES: Final = 16 * KIB
LOG_LINE_BYTES: Final = 16 * KIB
LOG_PER_TASK_BYTES: Final = 10 * MIB
CHECKPOINT_BYTES: Final = 256 * KIB
INLINE_PARAM_BYTES: Final = 64
"""A longer payload has a key of its own: one value over 64 bytes turns the whole hash from 249 into 745 bytes."""
INBOX_PARAM_BYTES: Final = 4 * KIB
"""A longer payload is not copied to the inbox; the gateway fetches it."""

# --- The edge -------------------------------------------------------------------------------------------------------
HTTP_PORT: Final = 8_700
"""Where a gateway listens, and where clients and workers look for it, unless they are told otherwise."""
FRAME_BYTES: Final = 1 * MIB
BODY_BYTES: Final = 1 * MIB
BULK_BODY_BYTES: Final = 8 * MIB
JSON_DEPTH: Final = 32
PAGE_ITEMS: Final = 500
HELLO_MS: Final = 5 * SECOND_MS
IDEMPOTENCY_MS: Final = 24 * HOUR_MS
TOKEN_REVOKED_MS: Final = 10 * SECOND_MS
"""Live sockets of a revoked token are closed within this time."""

# --- Scripts --------------------------------------------------------------------------------------------------------
BATCH_ITEMS: Final = 100
BATCH_BYTES: Final = 256 * KIB
FIRE_FIRST_ITEMS: Final = 25
"""Slots in the first call of a crowd; each further call takes twice as many, up to ``FIRE_ITEMS``."""
FIRE_ITEMS: Final = 50
"""Slots of one call: 1.2 ms without workers; a hundred took over 5 ms now and then, and fired no faster."""
FIRE_STORM_ITEMS: Final = 20
"""Slots of one call in a storm. The append-only file doubles in it, and the first call after the engine forked to write
it anew copies every page it changes: 7.7 ms for 50 slots, 4.6 for 25, 2.6 for 10."""
FIRE_CPU_US: Final = 2_000
"""What a call may work on its slots before it stops with fewer; to bind them may take as much again (``SCRIPT_MS``)."""
SCRIPT_MS: Final = 5
"""No script may take longer: one that would stops at its bound and answers ``more``."""

# --- Who is alive ---------------------------------------------------------------------------------------------------
LEASE_MS: Final = 15 * SECOND_MS
HEARTBEAT_MS: Final = 5 * SECOND_MS
RENEW_EVERY_MS: Final = 5 * SECOND_MS
RENEW_DEADLINE_MS: Final = 2 * SECOND_MS
GATEWAY_DARK_MS: Final = 5 * SECOND_MS
"""A gateway that could not renew for this long tells its workers to move."""
GATEWAY_STAMP_MS: Final = 1 * SECOND_MS
GATEWAY_SILENT_MS: Final = 3 * SECOND_MS
"""Match skips the sessions of a gateway that did not stamp itself for this long."""
GATEWAY_BURY_MS: Final = 60 * SECOND_MS
RECONNECT_BUSY_MS: Final = 1 * SECOND_MS
"""Most jitter before a session that holds runs dials again."""
RECONNECT_IDLE_MS: Final = 30 * SECOND_MS

# --- A run's life ---------------------------------------------------------------------------------------------------
ACCEPT_MS: Final = 5 * SECOND_MS
CANCEL_GRACE_MS: Final = 10 * SECOND_MS
CANCEL_RESEND_MS: Final = 2 * SECOND_MS
MISFIRE_AFTER_MS: Final = 60 * SECOND_MS
QUEUE_LIMIT_MS: Final = 7 * DAY_MS
SHARDS: Final = 10_000
RETRIES: Final = 100
CATCH_UP: Final = 100
REJECTS: Final = 20
UNACCEPTED: Final = 100
LOSSES: Final = 3
LOSSES_WITHIN_MS: Final = 72 * HOUR_MS
ABNORMAL_ATTEMPTS: Final = 16
PRIORITY: Final = 5
PRIORITY_MIN: Final = 0
PRIORITY_MAX: Final = 9

# --- Sizes of structures --------------------------------------------------------------------------------------------
PARTITIONS: Final = 16
CAPACITY_PER_SESSION: Final = 1_000
HANDLERS_PER_SESSION: Final = 1_024
LANES_PER_HANDLER: Final = 256
CREWS_PER_LANE: Final = 16
QUEUED_PER_HANDLER: Final = 1_000_000
EVENTS_PER_PARTITION: Final = 100_000
INBOX_ITEMS: Final = 10_000
HANDLER_KNOWN_MS: Final = 30 * DAY_MS

# --- Schedules ------------------------------------------------------------------------------------------------------
AGENDA_MIN: Final = 8
AGENDA_MAX: Final = 64
AGENDA_DAYS: Final = 7
CRON_CHARS: Final = 256
EVERY_MIN_MS: Final = 100
"""Below this a timer belongs into the worker: a slot costs a ledger entry and a task."""
EVERY_MAX_MS: Final = 3_660 * DAY_MS
LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01T00:00Z: no slot lies at or after it."""

# --- Clocks and loops -----------------------------------------------------------------------------------------------
STEADY_STEP_MS: Final = 1 * SECOND_MS
"""The steady clock moves at most this far per visit, so that a pause or a jump takes no more of any lease."""
STEADY_WRITE_MS: Final = 100
LOOK_EVERY_MS: Final = 500
"""Trigger replicas look at all heads this often, whatever the wake streams say."""
WAKE_AHEAD_MS: Final = 500
PREFERRED_LATE_MS: Final = 100
"""Other replicas act on a partition when its head is later than this."""
REDIS_DEADLINE_MS: Final = 15 * SECOND_MS
ANSWER_MS: Final = 5 * SECOND_MS
"""How long somebody who waits for an answer over HTTP has to wait before hearing that the engine is away."""
CONFIRM_MS: Final = 1 * SECOND_MS
"""How long a replica or the disk has to confirm what a namespace wants confirmed; shorter than any socket's timeout."""

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
SCRUB_MEMBERS: Final = 500
"""Members of indexes that one call of it looks at."""

# --- What is kept ---------------------------------------------------------------------------------------------------
LEDGER_ENTRIES: Final = 1_000
LEDGER_MS: Final = 30 * DAY_MS
HISTORY_MS: Final = 7 * DAY_MS
HISTORY_MIN_MS: Final = 60 * SECOND_MS
"""Nothing terminal is retired earlier: a repeated report has to find it."""
HISTORY_PER_HANDLER: Final = 10_000
MEMORY_HIGH_PERCENT: Final = 80
"""From this share of maxmemory on, history is kept shorter: none beyond the 60 s when memory is full."""
