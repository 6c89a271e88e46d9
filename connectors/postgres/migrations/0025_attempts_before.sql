-- The attempt before the present one, as it was: an attempt that is given up unspent leaves the row as it found it.
ALTER TABLE deliveries
    ADD COLUMN attempt_before    int,
    ADD COLUMN state_before      text,
    ADD COLUMN message_id_before text,
    ADD COLUMN ended_before      text;
UPDATE deliveries SET attempt_before = attempt - 1, state_before = 'retry' WHERE state = 'attempting' AND attempt > 1;
