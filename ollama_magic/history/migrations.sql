-- The statements that upgrade each version of a chat file to the next, from 0 (empty).

-- version 1
-- Small columns first: SQLite reads a long text to reach the columns after it. A row
-- is live until it is replaced (its cell was run again) or removed; rows are only
-- deleted when the user asks for it.
CREATE TABLE notebooks (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    current_chat TEXT NOT NULL,
    model TEXT,
    model_chosen_at TEXT
);
CREATE TABLE chats (
    id INTEGER PRIMARY KEY,
    notebook_id INTEGER NOT NULL REFERENCES notebooks,
    name TEXT NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0,
    UNIQUE (notebook_id, name)
);
CREATE TABLE turns (
    uid TEXT PRIMARY KEY,
    chat_id INTEGER NOT NULL REFERENCES chats,
    position INTEGER NOT NULL,
    cell_id TEXT,
    replaces TEXT,
    replaced_at TEXT,
    removed_at TEXT,
    answered_at TEXT NOT NULL,
    based_on TEXT NOT NULL,
    text_hash TEXT NOT NULL,
    model TEXT NOT NULL,
    digest TEXT NOT NULL,
    starts_afresh INTEGER NOT NULL,
    status TEXT NOT NULL,
    done_reason TEXT NOT NULL,
    stats TEXT NOT NULL,
    request TEXT NOT NULL,
    system TEXT,
    prompt TEXT NOT NULL,
    reply TEXT NOT NULL,
    thinking TEXT NOT NULL
);
CREATE UNIQUE INDEX live_turns ON turns (chat_id, position)
    WHERE replaced_at IS NULL AND removed_at IS NULL;
CREATE INDEX turns_of_cell ON turns (cell_id) WHERE cell_id IS NOT NULL;
CREATE VIEW live AS
    SELECT * FROM turns WHERE replaced_at IS NULL AND removed_at IS NULL;
CREATE VIEW named_chats AS
    SELECT chats.*, notebooks.key AS notebook
    FROM chats JOIN notebooks ON notebooks.id = chats.notebook_id;

-- version 2
ALTER TABLE notebooks ADD COLUMN path TEXT;
UPDATE notebooks SET path = key WHERE key NOT LIKE 'session:%';
ALTER TABLE turns ADD COLUMN removed_why TEXT;
ALTER TABLE turns ADD COLUMN added_at TEXT;
CREATE INDEX turns_in_order ON turns (chat_id, position);
CREATE INDEX turns_by_time ON turns (answered_at);

-- version 3
-- An image is stored once, however many turns have it. The table `answers` holds
-- cached replies.
ALTER TABLE turns ADD COLUMN steps TEXT;
ALTER TABLE turns ADD COLUMN pictures TEXT;
CREATE TABLE pictures (digest TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE answers (
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    digest TEXT NOT NULL,
    answered_at TEXT NOT NULL,
    answer TEXT NOT NULL,
    PRIMARY KEY (key, model, digest)
);

-- version 4
ALTER TABLE turns ADD COLUMN origin TEXT;

-- version 5
-- VS Code names a cell by a session and a handle; this is its id in the notebook file.
CREATE TABLE cell_handles (
    session TEXT NOT NULL,
    handle TEXT NOT NULL,
    cell_id TEXT NOT NULL,
    PRIMARY KEY (session, handle)
);
