CREATE OR REPLACE VIEW {database}.funnel
AS
-- By notification type and channel: how many messages were written, left, arrived, failed.
SELECT
    notification_type, channel,
    count() AS messages, sum(greatest(attempts, 1)) AS attempts,
    countIf(sent_at IS NOT NULL) AS sent,
    countIf(status IN ('delivered', 'read', 'clicked', 'acknowledged')) AS delivered,
    countIf(status IN ('failed', 'undelivered', 'bounced')) AS failed,
    countIf(status = 'unknown') AS unknown,
    countIf(status IN ('suppressed', 'cancelled', 'expired')) AS stopped,
    countIf(status IN ('waiting', 'queued', 'sending')) AS waiting,
    round(delivered / nullIf(sent, 0), 4) AS delivery_rate,
    round(avgIf(dateDiff('millisecond', created_at, assumeNotNull(sent_at)), sent_at IS NOT NULL)) AS milliseconds_to_provider
FROM {database}.delivery_log
GROUP BY notification_type, channel
COMMENT 'By notification type and channel: written, sent, arrived, failed'
