"""The ledger's schema, step by step. A step that was released is never edited: a change is a new step.

`importer` applies these itself when it opens a ledger; `sqlite-utils migrate ledger.db migrations/` does the same.
Each step runs in one transaction together with the record that it ran. Times are Unix milliseconds (`…_ms`).
JSON columns carry no json_valid() check, and importer itself does not use the views that unfold them: it opens the file
with trusted_schema off, where SQLite lets no schema call a JSON function. The views are for people.
"""

from sqlite_utils import Database, Migrations

migrate = Migrations("importer")

APPLICATION_ID = 0x504C4931

FIRST = """
CREATE TABLE ledger_info (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    ledger_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    -- the latest the platform's clock was ever known to show: time never runs backwards for the ledger
    server_high_ms INTEGER NOT NULL DEFAULT 0,
    -- raised before every arming; a copy kept outside shows whether the ledger was restored from a copy
    armings INTEGER NOT NULL DEFAULT 0,
    sessions INTEGER NOT NULL DEFAULT 0             -- runs that were about to send; kept outside as well
) STRICT;

CREATE TABLE campaigns (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    origin TEXT NOT NULL,
    fingerprint BLOB NOT NULL UNIQUE,               -- knows the token again; the token itself is never stored
    key_seed TEXT NOT NULL CHECK (length(key_seed) = 64),
    first_met_ms INTEGER NOT NULL
) STRICT;

-- One import is one list in one campaign and round. source: open -> complete | aborted
CREATE TABLE imports (
    id INTEGER PRIMARY KEY,
    campaign_id INTEGER NOT NULL REFERENCES campaigns(id),
    round TEXT NOT NULL,                            -- '' is the campaign's own, for ever
    list_name TEXT NOT NULL,
    source_state TEXT NOT NULL CHECK (source_state IN ('open', 'complete', 'aborted')),
    revision INTEGER NOT NULL DEFAULT 1,            -- how often the list was found edited, plus one
    mapping TEXT NOT NULL,                          -- JSON: what decides which rows come out of the list
    settings TEXT NOT NULL,                         -- JSON: how they are sent
    batch_size_rows INTEGER NOT NULL CHECK (batch_size_rows > 0),
    next_file_no INTEGER NOT NULL DEFAULT 0,        -- the checkpoint: the first row not yet taken in
    next_row_no INTEGER NOT NULL DEFAULT 0,
    read_rows INTEGER NOT NULL DEFAULT 0,
    rejected_rows INTEGER NOT NULL DEFAULT 0,
    duplicate_rows INTEGER NOT NULL DEFAULT 0,
    suppressed_rows INTEGER NOT NULL DEFAULT 0,
    withdrawn_rows INTEGER NOT NULL DEFAULT 0,
    first_row_id INTEGER NOT NULL DEFAULT 0,
    facts TEXT NOT NULL DEFAULT '{}',
    adopted_since_ms INTEGER,                       -- an earlier ledger was lost: sends may have been made since then
    started_ms INTEGER NOT NULL,
    completed_ms INTEGER,                           -- the source was read to its end
    finished_ms INTEGER                             -- no row is pending or in doubt
) STRICT;
CREATE UNIQUE INDEX one_unfinished_import ON imports(campaign_id, round, list_name) WHERE finished_ms IS NULL;

CREATE TABLE files (
    import_id INTEGER NOT NULL REFERENCES imports(id),
    file_no INTEGER NOT NULL,
    name TEXT NOT NULL,
    facts TEXT NOT NULL,                            -- JSON: format, columns, size, times: shows whether it is unedited
    read_rows INTEGER,
    witness_rows INTEGER,                           -- counted independently of the reader
    sha256 TEXT,
    PRIMARY KEY (import_id, file_no)
) STRICT, WITHOUT ROWID;

-- frozen -> armed <-> waiting -> accepted | refused | split | in_doubt
-- in_doubt -> accepted | frozen in the next epoch | refused by a person
CREATE TABLE batches (
    id INTEGER PRIMARY KEY,
    import_id INTEGER NOT NULL REFERENCES imports(id),
    state TEXT NOT NULL CHECK (state IN ('frozen', 'armed', 'waiting', 'accepted', 'refused', 'split', 'in_doubt')),
    size_rows INTEGER NOT NULL CHECK (size_rows > 0),
    first_row_id INTEGER NOT NULL,                  -- its rows lie in this span of ids, perhaps with others between
    last_row_id INTEGER NOT NULL,
    request_key TEXT NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0,
    parent_id INTEGER REFERENCES batches(id),       -- the split batch it is a part of
    epoch INTEGER NOT NULL DEFAULT 0,
    is_ambiguous INTEGER NOT NULL DEFAULT 0 CHECK (is_ambiguous IN (0, 1)),
    sends INTEGER NOT NULL DEFAULT 0,               -- in this epoch
    first_low_ms INTEGER,                           -- first arming of this epoch: the server's clock at least
    first_boot_ms INTEGER,
    first_boot_id TEXT,
    reason TEXT NOT NULL DEFAULT '',
    changed_ms INTEGER NOT NULL,
    CHECK (state <> 'armed' OR sends > 0),
    CHECK (state <> 'frozen' OR (is_ambiguous = 0 AND sends = 0))
) STRICT;
-- A refused row may be tried again by a later import; then its key is met again. No two live batches share one.
CREATE UNIQUE INDEX one_live_batch_per_key ON batches(request_key) WHERE state NOT IN ('refused', 'split');
CREATE INDEX refused_keys ON batches(request_key) WHERE state IN ('refused', 'split');
CREATE INDEX batches_by_state ON batches(import_id, state, id, size_rows);

-- The exact bytes of a batch's request, compressed; the hash is of the bytes as sent.
CREATE TABLE bodies (
    batch_id INTEGER PRIMARY KEY REFERENCES batches(id),
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    body BLOB NOT NULL
) STRICT;

-- One line for each request that was, or may have been, sent. Never deleted while its batch lives.
CREATE TABLE sends (
    id INTEGER PRIMARY KEY,
    batch_id INTEGER NOT NULL REFERENCES batches(id),
    epoch INTEGER NOT NULL,
    armed_ms INTEGER NOT NULL,
    server_low_ms INTEGER,
    boot_ms INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    ended_ms INTEGER,
    outcome TEXT,
    status INTEGER,
    server_date_ms INTEGER,
    elapsed_ms INTEGER
) STRICT;
CREATE INDEX sends_by_batch ON sends(batch_id);

-- What the API answered, committed together with the state it causes. Ids stand in the order of the batch's rows.
CREATE TABLE receipts (
    batch_id INTEGER PRIMARY KEY REFERENCES batches(id),
    kind TEXT NOT NULL CHECK (kind IN ('accepted', 'refused')),
    evidence TEXT NOT NULL CHECK (evidence IN ('answer', 'report', 'person')),
    received_ms INTEGER NOT NULL,
    content TEXT NOT NULL
) STRICT;

-- What the platform's reports showed of a batch in doubt. Append-only.
CREATE TABLE evidence (
    id INTEGER PRIMARY KEY,
    batch_id INTEGER NOT NULL REFERENCES batches(id),
    epoch INTEGER NOT NULL,
    asked_ms INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,                       -- the span of createdAt that was asked for
    to_ms INTEGER NOT NULL,
    finding TEXT NOT NULL CHECK (finding IN ('all', 'none', 'some', 'several', 'unreadable', 'person')),
    jobs INTEGER NOT NULL,                          -- unclaimed jobs of its phones
    campaign_status TEXT,
    detail TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX evidence_by_batch ON evidence(batch_id);
CREATE TRIGGER evidence_is_append_only BEFORE UPDATE ON evidence
BEGIN SELECT raise(ABORT, 'evidence is append-only'); END;
CREATE TRIGGER evidence_stays BEFORE DELETE ON evidence
BEGIN SELECT raise(ABORT, 'evidence is append-only'); END;

CREATE TABLE rows (
    id INTEGER PRIMARY KEY AUTOINCREMENT,           -- never used twice: skips name the row they repeat
    import_id INTEGER NOT NULL REFERENCES imports(id),
    file_no INTEGER NOT NULL,
    row_no INTEGER NOT NULL,                        -- as a spreadsheet numbers it
    phone INTEGER NOT NULL,                         -- E.164 without its plus
    row_key BLOB NOT NULL CHECK (length(row_key) = 16),
    identity BLOB,                                  -- under --once-per COLUMN,…
    batch_id INTEGER REFERENCES batches(id),        -- NULL: withdrawn, or thawed while an edited list is read
    position INTEGER,
    revision INTEGER NOT NULL
) STRICT;
CREATE INDEX rows_by_phone ON rows(phone);

-- Good rows of a list still being read, too few to fill a batch. Empty once the source is complete.
CREATE TABLE leftovers (
    import_id INTEGER NOT NULL REFERENCES imports(id),
    place INTEGER NOT NULL,
    file_no INTEGER NOT NULL,
    row_no INTEGER NOT NULL,
    phone INTEGER NOT NULL,
    row_key BLOB NOT NULL,
    identity BLOB,
    item TEXT NOT NULL,
    PRIMARY KEY (import_id, place)
) STRICT, WITHOUT ROWID;

-- Which row holds a key: the one place that says "this row is already here".
CREATE TABLE identities (
    identity BLOB PRIMARY KEY CHECK (length(identity) = 16),
    row_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE rejects (
    id INTEGER PRIMARY KEY,
    import_id INTEGER NOT NULL REFERENCES imports(id),
    file_no INTEGER NOT NULL,
    row_no INTEGER NOT NULL,
    column_name TEXT,
    reason TEXT NOT NULL,
    explanation TEXT NOT NULL,
    cells TEXT NOT NULL   -- the row as it was read
) STRICT;
CREATE INDEX rejects_by_import ON rejects(import_id, file_no, row_no);

-- Rows that were good but not enqueued, in packs of [file_no, row_no, row_id]; row_id is the row repeated.
CREATE TABLE skips (
    id INTEGER PRIMARY KEY,
    import_id INTEGER NOT NULL REFERENCES imports(id),
    reason TEXT NOT NULL CHECK (reason IN ('repeated', 'already', 'changed', 'suppressed')),
    size_rows INTEGER NOT NULL,
    pack TEXT NOT NULL
) STRICT;
CREATE INDEX skips_by_import ON skips(import_id);

CREATE VIEW row_states AS
SELECT r.id AS row_id, r.import_id, f.name AS file, r.row_no, '+' || r.phone AS phone, lower(hex(r.row_key)) AS row_key,
       CASE WHEN b.id IS NULL THEN 'withdrawn'
            WHEN b.state IN ('accepted', 'refused', 'in_doubt') THEN b.state ELSE 'pending' END AS state,
       r.batch_id, r.position, b.request_key, b.reason
FROM rows r LEFT JOIN batches b ON b.id = r.batch_id
LEFT JOIN files f ON f.import_id = r.import_id AND f.file_no = r.file_no;

CREATE VIEW call_jobs AS
SELECT r.id AS row_id, r.import_id, r.file_no, r.row_no, '+' || r.phone AS phone,
       json_extract(c.content, '$.ids[' || r.position || ']') AS call_job_id,
       c.evidence, datetime(c.received_ms / 1000, 'unixepoch') AS accepted_at, r.batch_id
FROM rows r JOIN receipts c ON c.batch_id = r.batch_id AND c.kind = 'accepted';

CREATE VIEW skipped_rows AS
SELECT s.import_id, s.reason, json_extract(p.value, '$[0]') AS file_no, json_extract(p.value, '$[1]') AS row_no,
       json_extract(p.value, '$[2]') AS row_id
FROM skips s, json_each(s.pack) p;

CREATE VIEW import_summary AS
SELECT i.id AS import_id, c.name AS campaign, i.round, i.list_name, i.source_state, i.read_rows AS "read",
       coalesce(sum(b.size_rows) FILTER (WHERE b.state = 'accepted'), 0) AS accepted,
       i.rejected_rows AS rejected, i.duplicate_rows AS duplicate, i.suppressed_rows AS suppressed,
       i.withdrawn_rows AS withdrawn,
       coalesce(sum(b.size_rows) FILTER (WHERE b.state = 'refused'), 0) AS refused,
       coalesce(sum(b.size_rows) FILTER (WHERE b.state = 'in_doubt'), 0) AS in_doubt,
       coalesce(sum(b.size_rows) FILTER (WHERE b.state IN ('frozen', 'armed', 'waiting')), 0) AS pending,
       datetime(i.started_ms / 1000, 'unixepoch') AS started_at,
       datetime(i.finished_ms / 1000, 'unixepoch') AS finished_at
FROM imports i JOIN campaigns c ON c.id = i.campaign_id LEFT JOIN batches b ON b.import_id = i.id
GROUP BY i.id
"""


@migrate()
def m0001_first(db: Database) -> None:
    _run(db, FIRST)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("PRAGMA user_version = 1")


# Made anew because SQLite cannot change a CHECK: one reason more. The view that reads the table steps aside meanwhile.
DO_NOT_CALL = """
CREATE TABLE dnc_lists (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    changed_ms INTEGER NOT NULL,
    facts TEXT NOT NULL DEFAULT '{}'                -- JSON: the file it came from, rows read, unreadable rows
) STRICT;

-- The numbers of a list: Roaring bitmaps (portable format, 64 bit) of E.164 without its plus, cut at multiples of 2^26.
CREATE TABLE dnc_parts (
    list_id INTEGER NOT NULL REFERENCES dnc_lists(id),
    part INTEGER NOT NULL,                          -- number >> 26
    size_numbers INTEGER NOT NULL CHECK (size_numbers > 0),
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    bitmap BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX dnc_parts_by_list ON dnc_parts(list_id, part);
CREATE INDEX dnc_parts_by_part ON dnc_parts(part);

DROP VIEW skipped_rows;
CREATE TEMP TABLE kept_skips AS SELECT * FROM skips;
DROP TABLE skips;
-- Rows that were good but not enqueued, in packs of [file_no, row_no, row_id]; row_id is the row repeated, 0 for none.
CREATE TABLE skips (
    id INTEGER PRIMARY KEY,
    import_id INTEGER NOT NULL REFERENCES imports(id),
    reason TEXT NOT NULL CHECK (reason IN ('repeated', 'already', 'changed', 'recent', 'suppressed')),
    size_rows INTEGER NOT NULL,
    pack TEXT NOT NULL
) STRICT;
CREATE INDEX skips_by_import ON skips(import_id);
INSERT INTO skips SELECT id, import_id, reason, size_rows, pack FROM temp.kept_skips;
DROP TABLE temp.kept_skips;

CREATE VIEW skipped_rows AS
SELECT s.import_id, s.reason, json_extract(p.value, '$[0]') AS file_no, json_extract(p.value, '$[1]') AS row_no,
       json_extract(p.value, '$[2]') AS row_id
FROM skips s, json_each(s.pack) p
"""


@migrate()
def m0002_do_not_call(db: Database) -> None:
    _run(db, DO_NOT_CALL)
    db.execute("PRAGMA user_version = 2")


# Nothing here is a promise of ours: it is what the platform told, and may be told again.
AFTERWARDS = """
-- The platform's own id of a campaign, which knows it under a renewed token, and when its token was last renewed.
ALTER TABLE campaigns ADD COLUMN platform_id TEXT;
ALTER TABLE campaigns ADD COLUMN renewed_ms INTEGER;

-- How the call job of each accepted row stands. status NULL: no report showed the job yet.
CREATE TABLE job_outcomes (
    row_id INTEGER PRIMARY KEY,
    call_job_id TEXT NOT NULL,
    status TEXT,
    is_finished INTEGER NOT NULL CHECK (is_finished IN (0, 1)),
    attempts INTEGER,
    call_duration_s REAL,
    redial_number INTEGER,
    created_ms INTEGER,
    finished_ms INTEGER,
    tag_name TEXT,
    tag_payload TEXT,                               -- JSON
    report_data TEXT,                               -- JSON
    are_attempts_known INTEGER NOT NULL DEFAULT 0 CHECK (are_attempts_known IN (0, 1)),
    asked_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE call_attempts (
    row_id INTEGER NOT NULL,
    attempt_number INTEGER NOT NULL,
    job_status TEXT,
    call_result TEXT,
    call_duration_s REAL,
    redial_number INTEGER,
    started_ms INTEGER,
    finished_ms INTEGER,
    tag_name TEXT,
    tag_payload TEXT,                               -- JSON
    report_data TEXT,                               -- JSON
    PRIMARY KEY (row_id, attempt_number)
) STRICT, WITHOUT ROWID;

-- The checkpoint of asking: how far each accepted batch is known. What was asked longest ago is asked first.
CREATE TABLE outcome_progress (
    batch_id INTEGER PRIMARY KEY,
    import_id INTEGER NOT NULL,
    open_rows INTEGER NOT NULL,                     -- call jobs not known to have finished
    open_attempt_rows INTEGER NOT NULL,             -- dialled call jobs whose attempts are not all known
    asked_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX outcome_progress_by_age ON outcome_progress(import_id, asked_ms);

-- Rows somebody took back. withdrawn: never sent, and keeps its keys. asked -> cancelled | not_cancelled | unknown
CREATE TABLE cancellations (
    row_id INTEGER PRIMARY KEY,
    import_id INTEGER NOT NULL,
    fate TEXT NOT NULL CHECK (fate IN ('withdrawn', 'asked', 'cancelled', 'not_cancelled', 'unknown')),
    call_job_id TEXT,
    request_key TEXT,                               -- of the request that cancels it; rows of one request share it
    tries INTEGER NOT NULL DEFAULT 0,
    asked_ms INTEGER NOT NULL,
    settled_ms INTEGER,
    CHECK (fate = 'withdrawn' OR (call_job_id IS NOT NULL AND request_key IS NOT NULL))
) STRICT;
CREATE INDEX open_cancellations ON cancellations(import_id, request_key) WHERE fate = 'asked';

CREATE VIEW call_outcomes AS
SELECT r.id AS row_id, r.import_id, f.name AS file, r.row_no, '+' || r.phone AS phone, o.call_job_id, o.status,
       o.is_finished, o.attempts, o.call_duration_s, o.tag_name,
       (SELECT a.call_result FROM call_attempts a WHERE a.row_id = r.id ORDER BY a.attempt_number DESC LIMIT 1)
           AS last_result,
       datetime(o.created_ms / 1000, 'unixepoch') AS created_at,
       datetime(o.finished_ms / 1000, 'unixepoch') AS finished_at
FROM job_outcomes o JOIN rows r ON r.id = o.row_id
LEFT JOIN files f ON f.import_id = r.import_id AND f.file_no = r.file_no;

CREATE VIEW attempt_log AS
SELECT r.id AS row_id, r.import_id, '+' || r.phone AS phone, a.attempt_number, a.call_result, a.job_status,
       a.call_duration_s, datetime(a.started_ms / 1000, 'unixepoch') AS started_at,
       datetime(a.finished_ms / 1000, 'unixepoch') AS finished_at
FROM call_attempts a JOIN rows r ON r.id = a.row_id;

CREATE VIEW outcome_summary AS
SELECT r.import_id, coalesce(o.status, 'not shown yet') AS status, o.is_finished, count(*) AS call_jobs,
       sum(o.attempts) AS call_attempts, sum(o.call_duration_s) AS talked_s
FROM job_outcomes o JOIN rows r ON r.id = o.row_id GROUP BY r.import_id, o.status, o.is_finished;

CREATE VIEW cancelled_rows AS
SELECT c.row_id, c.import_id, f.name AS file, r.row_no, '+' || r.phone AS phone, c.fate, c.call_job_id,
       datetime(c.asked_ms / 1000, 'unixepoch') AS asked_at
FROM cancellations c JOIN rows r ON r.id = c.row_id
LEFT JOIN files f ON f.import_id = r.import_id AND f.file_no = r.file_no;

CREATE VIEW import_lineage AS
SELECT id AS import_id, json_extract(facts, '$.parent.import') AS parent_id,
       json_extract(facts, '$.parent.outcomes') AS outcomes
FROM imports WHERE json_extract(facts, '$.parent.import') IS NOT NULL
"""


@migrate()
def m0003_afterwards(db: Database) -> None:
    _run(db, AFTERWARDS)
    db.execute("PRAGMA user_version = 3")


def _run(db: Database, script: str) -> None:
    """Statement by statement: `executescript` would commit the step's transaction before it begins."""
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)


# The rows of a large batch in columns, and where a key is looked for among them. Small batches stay in `rows`, and so
# do those of which a row was changed: a batch is in one or the other.
PACKS = """
-- Up to 1,000 rows of a batch, one after another, as they were frozen. Their ids, positions and numbers count on from
-- the first. A pack is never changed: a batch of which a row changes is unfolded into rows and identities first.
CREATE TABLE row_packs (
    first_row_id INTEGER PRIMARY KEY,
    size_rows INTEGER NOT NULL CHECK (size_rows BETWEEN 1 AND 1000),
    import_id INTEGER NOT NULL REFERENCES imports(id),
    batch_id INTEGER NOT NULL REFERENCES batches(id),
    place INTEGER NOT NULL,                         -- the position of the first row in its batch
    revision INTEGER NOT NULL,
    file_no INTEGER NOT NULL,
    first_row_no INTEGER NOT NULL,
    row_nos BLOB,                                   -- digits; NULL: they count on from the first
    digits INTEGER NOT NULL CHECK (digits BETWEEN 1 AND 19),
    phones BLOB NOT NULL CHECK (length(phones) = digits * size_rows),
    row_keys BLOB NOT NULL CHECK (length(row_keys) = 16 * size_rows),
    identities BLOB CHECK (length(identities) = 16 * size_rows)
) STRICT;

-- Runs of the keys of packed rows, each sorted, cut into blocks: the first 8 bytes of each key (little-endian, signed),
-- and how far its row's id lies behind the run's first (4 bytes). What is newer than the last run is in no run yet. An
-- entry of a row that is in no pack any more means nothing.
CREATE TABLE key_runs (
    id INTEGER PRIMARY KEY,
    first_row_id INTEGER NOT NULL,
    last_row_id INTEGER NOT NULL
) STRICT;
CREATE TABLE key_blocks (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES key_runs(id),
    first_key INTEGER NOT NULL,
    keys BLOB NOT NULL,
    row_ids BLOB NOT NULL CHECK (length(row_ids) * 2 = length(keys))
) STRICT;
CREATE INDEX key_blocks_by_run ON key_blocks(run_id, first_key);

CREATE VIEW pack_places AS
WITH RECURSIVE counted(value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM counted WHERE value < 999)
SELECT value FROM counted;

-- Every row that was enqueued, packed or not.
CREATE VIEW all_rows AS
SELECT id, import_id, file_no, row_no, phone, row_key, identity, batch_id, position, revision FROM rows
UNION ALL
SELECT p.first_row_id + n.value, p.import_id, p.file_no,
       CASE WHEN p.row_nos IS NULL THEN p.first_row_no + n.value
            ELSE CAST(substr(p.row_nos, 1 + n.value * (length(p.row_nos) / p.size_rows),
                             length(p.row_nos) / p.size_rows) AS INTEGER) END,
       CAST(substr(p.phones, 1 + n.value * p.digits, p.digits) AS INTEGER), substr(p.row_keys, 1 + n.value * 16, 16),
       substr(p.identities, 1 + n.value * 16, 16), p.batch_id, p.place + n.value, p.revision
FROM row_packs p JOIN pack_places n ON n.value < p.size_rows;

DROP VIEW row_states;
CREATE VIEW row_states AS
SELECT r.id AS row_id, r.import_id, f.name AS file, r.row_no, '+' || r.phone AS phone, lower(hex(r.row_key)) AS row_key,
       CASE WHEN b.id IS NULL THEN 'withdrawn'
            WHEN b.state IN ('accepted', 'refused', 'in_doubt') THEN b.state ELSE 'pending' END AS state,
       r.batch_id, r.position, b.request_key, b.reason
FROM all_rows r LEFT JOIN batches b ON b.id = r.batch_id
LEFT JOIN files f ON f.import_id = r.import_id AND f.file_no = r.file_no;

DROP VIEW call_jobs;
CREATE VIEW call_jobs AS
SELECT r.id AS row_id, r.import_id, r.file_no, r.row_no, '+' || r.phone AS phone,
       json_extract(c.content, '$.ids[' || r.position || ']') AS call_job_id,
       c.evidence, datetime(c.received_ms / 1000, 'unixepoch') AS accepted_at, r.batch_id
FROM all_rows r JOIN receipts c ON c.batch_id = r.batch_id AND c.kind = 'accepted';

CREATE VIEW noted_rows AS
SELECT row_id FROM job_outcomes UNION SELECT row_id FROM call_attempts UNION SELECT row_id FROM cancellations;

-- Which import a row is of, and where in its list, found by the row's id: for what is kept by that alone.
CREATE VIEW row_places AS
SELECT o.row_id, r.import_id, r.file_no, r.row_no, r.phone
FROM noted_rows o JOIN rows r ON r.id = o.row_id
UNION ALL
SELECT o.row_id, p.import_id, p.file_no,
       CASE WHEN p.row_nos IS NULL THEN p.first_row_no + (o.row_id - p.first_row_id)
            ELSE CAST(substr(p.row_nos, 1 + (o.row_id - p.first_row_id) * (length(p.row_nos) / p.size_rows),
                             length(p.row_nos) / p.size_rows) AS INTEGER) END,
       CAST(substr(p.phones, 1 + (o.row_id - p.first_row_id) * p.digits, p.digits) AS INTEGER)
FROM noted_rows o
JOIN row_packs p ON p.first_row_id = (SELECT max(q.first_row_id) FROM row_packs q WHERE q.first_row_id <= o.row_id)
WHERE o.row_id < p.first_row_id + p.size_rows;

DROP VIEW call_outcomes;
CREATE VIEW call_outcomes AS
SELECT r.row_id, r.import_id, f.name AS file, r.row_no, '+' || r.phone AS phone, o.call_job_id, o.status,
       o.is_finished, o.attempts, o.call_duration_s, o.tag_name,
       (SELECT a.call_result FROM call_attempts a WHERE a.row_id = r.row_id ORDER BY a.attempt_number DESC LIMIT 1)
           AS last_result,
       datetime(o.created_ms / 1000, 'unixepoch') AS created_at,
       datetime(o.finished_ms / 1000, 'unixepoch') AS finished_at
FROM row_places r JOIN job_outcomes o ON o.row_id = r.row_id
LEFT JOIN files f ON f.import_id = r.import_id AND f.file_no = r.file_no;

DROP VIEW attempt_log;
CREATE VIEW attempt_log AS
SELECT r.row_id, r.import_id, '+' || r.phone AS phone, a.attempt_number, a.call_result, a.job_status,
       a.call_duration_s, datetime(a.started_ms / 1000, 'unixepoch') AS started_at,
       datetime(a.finished_ms / 1000, 'unixepoch') AS finished_at
FROM row_places r JOIN call_attempts a ON a.row_id = r.row_id;

DROP VIEW outcome_summary;
CREATE VIEW outcome_summary AS
SELECT r.import_id, coalesce(o.status, 'not shown yet') AS status, o.is_finished, count(*) AS call_jobs,
       sum(o.attempts) AS call_attempts, sum(o.call_duration_s) AS talked_s
FROM row_places r JOIN job_outcomes o ON o.row_id = r.row_id GROUP BY r.import_id, o.status, o.is_finished;

DROP VIEW cancelled_rows;
CREATE VIEW cancelled_rows AS
SELECT c.row_id, c.import_id, f.name AS file, r.row_no, '+' || r.phone AS phone, c.fate, c.call_job_id,
       datetime(c.asked_ms / 1000, 'unixepoch') AS asked_at
FROM row_places r JOIN cancellations c ON c.row_id = r.row_id
LEFT JOIN files f ON f.import_id = r.import_id AND f.file_no = r.file_no
"""


@migrate()
def m0004_packs(db: Database) -> None:
    _run(db, PACKS)
    db.execute("PRAGMA user_version = 4")


# What was erased, so that nobody takes its absence for damage. A row's number gives way to a stand-in of 19 digits,
# which no number has: made of the number under `number_seed`, or at random.
ERASURES = """
ALTER TABLE ledger_info ADD COLUMN number_seed TEXT;
-- when the cells of its bad rows and the numbers of its withdrawn rows were erased
ALTER TABLE imports ADD COLUMN erased_ms INTEGER;

-- Batches that were erased whole: numbers, frozen bytes, what reports told besides status and times.
CREATE TABLE erased_batches (
    batch_id INTEGER PRIMARY KEY REFERENCES batches(id),
    erased_ms INTEGER NOT NULL,
    keeps_hashes INTEGER NOT NULL CHECK (keeps_hashes IN (0, 1))
) STRICT;

-- Rows that were erased one by one, because somebody asked to be forgotten.
CREATE TABLE erased_rows (
    row_id INTEGER PRIMARY KEY,
    erased_ms INTEGER NOT NULL
) STRICT;

-- Each time something was erased. begun -> erased -> wiped: written anew, so that no free page holds any of it
CREATE TABLE purges (
    id INTEGER PRIMARY KEY,
    cause TEXT NOT NULL CHECK (cause IN ('age', 'import', 'phone', 'kept long enough')),
    import_id INTEGER,
    before_ms INTEGER,                              -- what was settled before
    keeps_hashes INTEGER NOT NULL CHECK (keeps_hashes IN (0, 1)),
    rows INTEGER NOT NULL DEFAULT 0,
    begun_ms INTEGER NOT NULL,
    erased_ms INTEGER,
    wiped_ms INTEGER
) STRICT;
CREATE INDEX unfinished_purges ON purges(id) WHERE wiped_ms IS NULL;

DROP VIEW row_states;
CREATE VIEW row_states AS
SELECT r.id AS row_id, r.import_id, f.name AS file, r.row_no,
       iif(r.phone < 1000000000000000000, '+' || r.phone, 'erased') AS phone, lower(hex(r.row_key)) AS row_key,
       CASE WHEN b.id IS NULL THEN 'withdrawn'
            WHEN b.state IN ('accepted', 'refused', 'in_doubt') THEN b.state ELSE 'pending' END AS state,
       r.batch_id, r.position, b.request_key, b.reason
FROM all_rows r LEFT JOIN batches b ON b.id = r.batch_id
LEFT JOIN files f ON f.import_id = r.import_id AND f.file_no = r.file_no;

DROP VIEW call_jobs;
CREATE VIEW call_jobs AS
SELECT r.id AS row_id, r.import_id, r.file_no, r.row_no,
       iif(r.phone < 1000000000000000000, '+' || r.phone, 'erased') AS phone,
       json_extract(c.content, '$.ids[' || r.position || ']') AS call_job_id,
       c.evidence, datetime(c.received_ms / 1000, 'unixepoch') AS accepted_at, r.batch_id
FROM all_rows r JOIN receipts c ON c.batch_id = r.batch_id AND c.kind = 'accepted';

DROP VIEW call_outcomes;
CREATE VIEW call_outcomes AS
SELECT r.row_id, r.import_id, f.name AS file, r.row_no,
       iif(r.phone < 1000000000000000000, '+' || r.phone, 'erased') AS phone, o.call_job_id, o.status,
       o.is_finished, o.attempts, o.call_duration_s, o.tag_name,
       (SELECT a.call_result FROM call_attempts a WHERE a.row_id = r.row_id ORDER BY a.attempt_number DESC LIMIT 1)
           AS last_result,
       datetime(o.created_ms / 1000, 'unixepoch') AS created_at,
       datetime(o.finished_ms / 1000, 'unixepoch') AS finished_at
FROM row_places r JOIN job_outcomes o ON o.row_id = r.row_id
LEFT JOIN files f ON f.import_id = r.import_id AND f.file_no = r.file_no;

DROP VIEW attempt_log;
CREATE VIEW attempt_log AS
SELECT r.row_id, r.import_id, iif(r.phone < 1000000000000000000, '+' || r.phone, 'erased') AS phone, a.attempt_number,
       a.call_result, a.job_status, a.call_duration_s, datetime(a.started_ms / 1000, 'unixepoch') AS started_at,
       datetime(a.finished_ms / 1000, 'unixepoch') AS finished_at
FROM row_places r JOIN call_attempts a ON a.row_id = r.row_id;

DROP VIEW cancelled_rows;
CREATE VIEW cancelled_rows AS
SELECT c.row_id, c.import_id, f.name AS file, r.row_no,
       iif(r.phone < 1000000000000000000, '+' || r.phone, 'erased') AS phone, c.fate, c.call_job_id,
       datetime(c.asked_ms / 1000, 'unixepoch') AS asked_at
FROM row_places r JOIN cancellations c ON c.row_id = r.row_id
LEFT JOIN files f ON f.import_id = r.import_id AND f.file_no = r.file_no
"""


@migrate()
def m0005_erasures(db: Database) -> None:
    _run(db, ERASURES)
    db.execute("PRAGMA user_version = 5")
