"""The tables of the store, and the migrations from older versions.

``sqlite_file`` runs the statements. A module without imports, so that the names below
can be used without loading SQLite.
"""

MAIN_CHAT = "main"

SCHEMA_VERSION = 5

# An image is stored once, however many turns have it. The table `answers` holds cached
# replies.
_IMAGES_AND_REPLIES = """
CREATE TABLE pictures (digest TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE answers (
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    digest TEXT NOT NULL,
    answered_at TEXT NOT NULL,
    answer TEXT NOT NULL,
    PRIMARY KEY (key, model, digest)
)
"""

# VS Code names a cell by a session and a handle; this is its id in the notebook file.
_CELL_HANDLES = """
CREATE TABLE cell_handles (
    session TEXT NOT NULL,
    handle TEXT NOT NULL,
    cell_id TEXT NOT NULL,
    PRIMARY KEY (session, handle)
)
"""

# Small columns first: SQLite reads a long text to reach the columns after it. A row is
# live until it is replaced (its cell was run again) or removed; rows are only deleted
# when the user asks for it.
SCHEMA = """
CREATE TABLE notebooks (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    current_chat TEXT NOT NULL,
    model TEXT,
    model_chosen_at TEXT,
    path TEXT
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
    thinking TEXT NOT NULL,
    removed_why TEXT,
    added_at TEXT,
    steps TEXT,
    pictures TEXT,
    origin TEXT
);
CREATE UNIQUE INDEX live_turns ON turns (chat_id, position)
    WHERE replaced_at IS NULL AND removed_at IS NULL;
CREATE INDEX turns_of_cell ON turns (cell_id) WHERE cell_id IS NOT NULL;
CREATE INDEX turns_in_order ON turns (chat_id, position);
CREATE INDEX turns_by_time ON turns (answered_at);
CREATE VIEW live AS
    SELECT * FROM turns WHERE replaced_at IS NULL AND removed_at IS NULL;
CREATE VIEW named_chats AS
    SELECT chats.*, notebooks.key AS notebook
    FROM chats JOIN notebooks ON notebooks.id = chats.notebook_id;
"""

UPGRADES = {
    1: """
ALTER TABLE notebooks ADD COLUMN path TEXT;
UPDATE notebooks SET path = key WHERE key NOT LIKE 'session:%';
ALTER TABLE turns ADD COLUMN removed_why TEXT;
ALTER TABLE turns ADD COLUMN added_at TEXT;
CREATE INDEX turns_in_order ON turns (chat_id, position);
CREATE INDEX turns_by_time ON turns (answered_at)
""",
    2: """
ALTER TABLE turns ADD COLUMN steps TEXT;
ALTER TABLE turns ADD COLUMN pictures TEXT;
"""
    + _IMAGES_AND_REPLIES,
    3: "ALTER TABLE turns ADD COLUMN origin TEXT",
    4: _CELL_HANDLES,
}
"""For each version, the statements that upgrade it to the next."""


def migration_statements(version: int) -> list[str]:
    """Return the statements that upgrade a file to this version.

    Parameters
    ----------
    version
        The version of the file; 0 if it is empty.
    """
    steps = range(version, SCHEMA_VERSION)
    whole = [SCHEMA, _IMAGES_AND_REPLIES, _CELL_HANDLES]
    parts = whole if version == 0 else [UPGRADES[step] for step in steps]
    split = ";".join(parts).split(";")
    return [statement for statement in split if statement.strip()]
