-- The database of a data directory, hub.db. Every statement leaves existing tables as they are.

-- Random settings: connection.py
CREATE TABLE IF NOT EXISTS settings(key TEXT PRIMARY KEY, value TEXT NOT NULL);

-- Users, organisations, tokens, repositories, grants of large files: accounts.py
CREATE TABLE IF NOT EXISTS namespaces(name TEXT PRIMARY KEY COLLATE NOCASE, kind TEXT NOT NULL, created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS members(org TEXT NOT NULL COLLATE NOCASE, user TEXT NOT NULL COLLATE NOCASE,
    PRIMARY KEY(org, user));
CREATE TABLE IF NOT EXISTS tokens(hash TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, user TEXT NOT NULL,
    role TEXT NOT NULL, created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS repos(id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL,
    namespace TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL COLLATE NOCASE, private INTEGER NOT NULL,
    sdk TEXT, created TEXT NOT NULL, moving_to TEXT, UNIQUE(kind, namespace, name));
CREATE TABLE IF NOT EXISTS former_names(kind TEXT NOT NULL, namespace TEXT NOT NULL COLLATE NOCASE,
    name TEXT NOT NULL COLLATE NOCASE, repo INTEGER NOT NULL, PRIMARY KEY(kind, namespace, name));
CREATE TABLE IF NOT EXISTS lfs_files(repo INTEGER NOT NULL, oid TEXT NOT NULL, PRIMARY KEY(repo, oid)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lfs_users ON lfs_files(oid);

-- Discussions and pull requests: discussions.py
CREATE TABLE IF NOT EXISTS discussions(repo INTEGER NOT NULL, num INTEGER NOT NULL, title TEXT NOT NULL,
    author TEXT NOT NULL, created TEXT NOT NULL, status TEXT NOT NULL, base TEXT, start TEXT, merged TEXT,
    PRIMARY KEY(repo, num)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS discussion_events(id TEXT PRIMARY KEY, repo INTEGER NOT NULL, num INTEGER NOT NULL,
    type TEXT NOT NULL, author TEXT NOT NULL, created TEXT NOT NULL, data TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_of ON discussion_events(repo, num);

-- Collections: collections.py
CREATE TABLE IF NOT EXISTS collections(id TEXT PRIMARY KEY, owner TEXT NOT NULL COLLATE NOCASE, title TEXT NOT NULL,
    description TEXT NOT NULL, private INTEGER NOT NULL, theme TEXT NOT NULL, updated TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS collection_titles ON collections(owner, title COLLATE NOCASE);
CREATE TABLE IF NOT EXISTS collection_items(id TEXT PRIMARY KEY, collection TEXT NOT NULL, type TEXT NOT NULL,
    repo INTEGER, paper TEXT, note TEXT, position INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS items_of ON collection_items(collection);

-- Jobs: jobs.py
CREATE TABLE IF NOT EXISTS jobs(id TEXT PRIMARY KEY, namespace TEXT NOT NULL COLLATE NOCASE, spec TEXT NOT NULL,
    initiator TEXT NOT NULL, created TEXT NOT NULL, started TEXT, finished TEXT, stage TEXT NOT NULL, message TEXT);
CREATE INDEX IF NOT EXISTS jobs_by_stage ON jobs(stage);

-- Running Spaces: spaces.py
CREATE TABLE IF NOT EXISTS running_spaces(repo INTEGER PRIMARY KEY, stage TEXT NOT NULL, build INTEGER NOT NULL,
    port INTEGER, message TEXT, flavor TEXT NOT NULL, sleep INTEGER);
CREATE TABLE IF NOT EXISTS space_values(repo INTEGER NOT NULL, secret INTEGER NOT NULL, key TEXT NOT NULL,
    value TEXT NOT NULL, description TEXT, updated TEXT NOT NULL, PRIMARY KEY(repo, secret, key)) WITHOUT ROWID;

-- Webhooks, their deliveries, and the refs announced last: webhooks.py
CREATE TABLE IF NOT EXISTS webhooks(id TEXT PRIMARY KEY, owner TEXT NOT NULL COLLATE NOCASE, role TEXT NOT NULL,
    url TEXT, job TEXT, watched TEXT NOT NULL, domains TEXT NOT NULL, secret TEXT, disabled INTEGER NOT NULL,
    created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries(id INTEGER PRIMARY KEY AUTOINCREMENT, webhook TEXT NOT NULL,
    created TEXT NOT NULL, body TEXT NOT NULL, attempts INTEGER NOT NULL, due REAL NOT NULL, state TEXT NOT NULL,
    answer TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries(state, due);
CREATE INDEX IF NOT EXISTS deliveries_of ON deliveries(webhook, id);
CREATE TABLE IF NOT EXISTS announced(repo INTEGER NOT NULL, ref TEXT NOT NULL, oid TEXT NOT NULL,
    PRIMARY KEY(repo, ref)) WITHOUT ROWID;
