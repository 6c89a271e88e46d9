-- Answers by text are kept 400 days and then deleted by age (housekeeping.py), every half minute: each look read the whole table.
CREATE INDEX text_answers_by_age ON text_answers (at);
