-- How far each consumer that writes to ClickHouse has come. A range is planned here before it is inserted and never cut anew,
-- so that a retry after a crash carries the same deduplication token for the same rows. The epoch fences a paused owner.
CREATE TABLE ingest_positions (
    sink        text        NOT NULL,
    topic_id    text        NOT NULL,
    partition   integer     NOT NULL,
    topic       text        NOT NULL,
    next_offset bigint      NOT NULL DEFAULT 0,
    planned_end bigint,
    epoch       bigint      NOT NULL DEFAULT 1,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sink, topic_id, partition),
    CHECK (planned_end IS NULL OR planned_end > next_offset)
);
