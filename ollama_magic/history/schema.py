"""The tables of the store, and how those of an older version become these.

Knows names and columns alone; importing it loads no database.
"""

MAIN_CHAT = "main"

SESSION = "session:"
"""How the key of a notebook begins that is known to one session of a kernel only.

Alone it is the key under which the named chats of all such sessions are kept.
"""

SCHEMA_VERSION = 5

# Images are there once, however many turns were asked about them. Answers are those
# that are shown again when the same is asked again.
_BESIDE_TURNS = """
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

# VS Code names a cell by a session and a handle; ``naming`` notes the id that lasts.
_CELL_HANDLES = """
CREATE TABLE cell_handles (
    session TEXT NOT NULL,
    handle TEXT NOT NULL,
    cell_id TEXT NOT NULL,
    PRIMARY KEY (session, handle)
)
"""

# Small columns first: SQLite reads through a long text to reach what is behind it.
# A row is live until it is replaced (its cell was run again) or removed; no row is
# deleted before the user asks for it.
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
    + _BESIDE_TURNS,
    3: "ALTER TABLE turns ADD COLUMN origin TEXT",
    4: _CELL_HANDLES,
}
"""By version: the statements that lead to the next one."""


def statements(version: int) -> list[str]:
    """Return what makes the tables of this version of those of another one.

    Parameters
    ----------
    version
        What the file has; 0 is an empty file.
    """
    steps = range(version, SCHEMA_VERSION)
    whole = [SCHEMA, _BESIDE_TURNS, _CELL_HANDLES]
    parts = whole if version == 0 else [UPGRADES[step] for step in steps]
    split = ";".join(parts).split(";")
    return [statement for statement in split if statement.strip()]
