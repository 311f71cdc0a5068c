"""The embedded Hub: a loopback server that speaks the Hub's protocol to unmodified clients.

`launch` starts it or finds the one that runs; `app` is the HTTP side (one page per area of the protocol in `pages`);
`storage` (bare git repositories: `git_reader`, `git_repo`, `tree`), `lfs_store`, `xet_store`, `accounts` and
`discussions` (SQLite) keep the data; `garbage` removes what nothing refers to; `clock` writes times.

`events` tells `webhooks` what happened, and `courier` carries it. Where code may be run, `foreman` starts `jobs` and
`space_host` starts `running_spaces`, each under a `job_keeper`; `buckets` are folders that Jobs share.
"""
