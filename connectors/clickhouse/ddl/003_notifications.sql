CREATE OR REPLACE VIEW {database}.notifications
AS
-- One row a requested notification, counted once by its final state:
-- delivered | failed | suppressed | waiting (a timer, or not taken by its channel's sink yet) | sent (no receipt yet, or with reason no_receipts none to come) | dead_letter | undecided.
SELECT
    r.notification_id AS notification_id, r.notification_type AS notification_type, r.category AS category, r.lane AS lane,
    r.recipient AS recipient, r.clinic_id AS clinic_id, r.event_id AS event_id, r.event_type AS event_type,
    r.correlation_id AS correlation_id, r.due_at AS due_at, r.occurred_at AS occurred_at, r.requested_at AS requested_at,
    d.outcome AS outcome, d.reason AS decision_reason, d.until AS until, d.decided_at AS decided_at,
    multiIf(
        x.notification_id != '', 'dead_letter',
        d.notification_id = '', 'undecided',
        d.outcome = 'suppress', 'suppressed',
        d.outcome = 'defer', 'waiting',
        l.delivered > 0, 'delivered',
        l.sent > 0, 'sent',
        l.on_the_way > 0, 'sent',
        l.waiting > 0 AND l.failed = 0 AND l.stopped = 0, 'waiting',
        l.failed > 0, 'failed',
        l.stopped > 0, 'suppressed',
        'waiting') AS state,
    multiIf(
        state = 'dead_letter', x.error_code,
        state = 'waiting' AND d.outcome = 'defer', toString(d.reason),
        state = 'waiting', 'not_taken',
        state = 'suppressed' AND d.outcome = 'suppress', toString(d.reason),
        state IN ('failed', 'suppressed'), l.reason,
        state = 'sent' AND l.on_the_way = 0 AND l.sent = l.sent_by_push, 'no_receipts',
        '') AS reason,
    l.channels AS channels
FROM (SELECT * FROM {database}.raw_notification_request FINAL WHERE kind = 'notify' LIMIT 1 BY notification_id) AS r
LEFT JOIN (
    SELECT * FROM {database}.raw_decision FINAL ORDER BY sequence DESC LIMIT 1 BY notification_id
) AS d ON d.notification_id = r.notification_id
LEFT JOIN (
    SELECT
        notification_id,
        countIf(status IN ('delivered', 'read', 'clicked', 'acknowledged')) AS delivered,
        countIf(status = 'sent') AS sent,
        countIf(status = 'sent' AND channel = 'push') AS sent_by_push,
        countIf(status IN ('queued', 'sending')) AS on_the_way,
        countIf(status IN ('failed', 'undelivered', 'bounced', 'unknown')) AS failed,
        countIf(status IN ('suppressed', 'cancelled', 'expired')) AS stopped,
        countIf(status = 'waiting') AS waiting,
        anyIf(if(reason != '', reason, ifNull(error_class, '')), status IN ('failed', 'undelivered', 'bounced', 'unknown', 'suppressed', 'cancelled', 'expired')) AS reason,
        groupUniqArray(toString(channel)) AS channels
    FROM {database}.delivery_log
    GROUP BY notification_id
) AS l ON l.notification_id = r.notification_id
LEFT JOIN (
    SELECT notification_id, any(toString(error_code)) AS error_code
    FROM {database}.raw_dead_letter FINAL
    WHERE notification_id IS NOT NULL
    GROUP BY notification_id
) AS x ON x.notification_id = r.notification_id
COMMENT 'One row a requested notification, by its final state and reason'
