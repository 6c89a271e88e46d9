-- How an attempt ended, whole, as its last status says it: a sink that was killed between this row and that status tells the same
-- when it comes back. JSON as text: nobody asks into it, and jsonb refuses what a provider may say (a NUL). NULL: under way, or
-- ended before there was this column.
ALTER TABLE deliveries ADD COLUMN ended text;
