-- What is first heard of a day late is given up only when what was said of it since has been heard too: a claim may lie behind it.
ALTER TABLE waitlist_slots ADD COLUMN too_late boolean NOT NULL DEFAULT false;
