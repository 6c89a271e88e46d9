-- How much of each rate limit's window is leased to workers: one row a limit, made when it is first asked for.
CREATE TABLE rate_limits (
    name          text PRIMARY KEY,              -- channel, whose (account, sender, clinic), length of its window
    window_number bigint NOT NULL DEFAULT 0,     -- windows since the epoch, each as long as the name says
    leased        int NOT NULL DEFAULT 0 CHECK (leased >= 0)
) WITH (fillfactor = 50); -- a handful of rows, each updated several times a second: room on their page
