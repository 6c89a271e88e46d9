CREATE OR REPLACE VIEW {database}.account
AS
-- Every requested notification once, by its final state and reason. Its total is the number of requests.
SELECT state, reason, count() AS notifications
FROM {database}.notifications
GROUP BY state, reason
ORDER BY state, reason
COMMENT 'Notifications by final state and reason; the total is the number of requests'
