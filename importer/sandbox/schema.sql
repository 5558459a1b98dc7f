-- The sandbox's own file. It is the judge's memory: nothing in it is ever deleted except forgotten keys.
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE campaigns (
    id          INTEGER PRIMARY KEY,
    token       TEXT NOT NULL UNIQUE,
    created_s   REAL NOT NULL,
    state       TEXT NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'paused', 'finished')),
    stopped_s   REAL,                           -- set with state 'finished', for ever
    size_rows   INTEGER NOT NULL DEFAULT 0,     -- jobs ever added
    busy_until_s REAL NOT NULL DEFAULT 0        -- when a new job would find a free line
) STRICT;

-- Spans without dialling; to_s is open while the campaign is paused.
CREATE TABLE pauses (
    campaign    INTEGER NOT NULL REFERENCES campaigns (id),
    from_s      REAL NOT NULL,
    to_s        REAL
) STRICT;

-- One row for every request that arrived, whatever became of it. Written once with its effects, in their
-- transaction; finished_order is filled in when the answer has left or was lost.
CREATE TABLE requests (
    number          INTEGER PRIMARY KEY,
    operation       TEXT NOT NULL,
    method          TEXT NOT NULL,
    campaign        INTEGER REFERENCES campaigns (id),  -- null: no such token
    key             TEXT,
    body_sha256     BLOB NOT NULL,
    content_sha256  BLOB NOT NULL,                      -- method, operation, token and body: what a key stands for
    body_bytes      INTEGER NOT NULL,
    arrived_s       REAL NOT NULL,                      -- the sandbox's clock, which tests may move
    committed_s     REAL NOT NULL,
    arrived_order   INTEGER NOT NULL,                   -- real order, whatever the clock says
    finished_order  INTEGER,
    is_executed     INTEGER NOT NULL CHECK (is_executed IN (0, 1)),
    is_replayed     INTEGER NOT NULL CHECK (is_replayed IN (0, 1)),
    fault           TEXT NOT NULL,
    status          INTEGER                             -- null: no answer was sent
) STRICT;

-- The jobs of one request share its creation time and its content, kept once as the JSON array they came in.
CREATE TABLE additions (
    request     INTEGER PRIMARY KEY REFERENCES requests (number),
    campaign    INTEGER NOT NULL REFERENCES campaigns (id),
    created_s   REAL NOT NULL,
    first_job   INTEGER NOT NULL,
    size_rows   INTEGER NOT NULL,
    wait_s      REAL NOT NULL,      -- simulated seconds until the first of them is dialled
    gap_s       REAL NOT NULL,      -- and from each to the next
    entries     BLOB NOT NULL       -- zlib of a JSON array
) STRICT;
CREATE INDEX additions_by_time ON additions (campaign, created_s);

CREATE TABLE jobs (
    sequence      INTEGER PRIMARY KEY,
    request       INTEGER NOT NULL REFERENCES additions (request),
    phone         TEXT NOT NULL,
    max_attempts  INTEGER,
    retry_minutes INTEGER,
    cancelled_s   REAL
) STRICT;

-- An index that is brought up to date when somebody asks by phone: kept current row by row, the random order of
-- phone numbers would make adding four times slower.
CREATE TABLE phones (
    phone       TEXT NOT NULL,
    sequence    INTEGER NOT NULL,
    PRIMARY KEY (phone, sequence)
) STRICT, WITHOUT ROWID;

-- Keys belong to the account, that is to the file. content_sha256 is null until an answer is remembered.
CREATE TABLE keys (
    key             TEXT PRIMARY KEY,
    first_used_s    REAL NOT NULL,
    content_sha256  BLOB,
    status          INTEGER,
    content_type    TEXT,
    body            BLOB
) STRICT;

-- addPhone's own rule: one number with one payload a day, unless a key says otherwise.
CREATE TABLE singles (
    campaign    INTEGER NOT NULL,
    content     BLOB NOT NULL,
    created_s   REAL NOT NULL,
    PRIMARY KEY (campaign, content)
) STRICT;
