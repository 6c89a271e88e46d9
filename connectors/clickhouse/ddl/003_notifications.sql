CREATE OR REPLACE VIEW {database}.notifications
AS
-- One row a requested notification, counted once by its final state:
-- delivered | failed | unknown | suppressed | waiting (a timer, another try, not taken by its channel's sink yet, queued there, or just
-- being handed over)
-- | sent (no receipt yet, or with reason no_receipts none to come, or receipt_timeout none came) | dead_letter | undecided.
SELECT
    r.notification_id AS notification_id, r.notification_type AS notification_type, r.category AS category, r.lane AS lane,
    r.recipient AS recipient, r.clinic_id AS clinic_id, r.event_id AS event_id, r.event_type AS event_type,
    r.correlation_id AS correlation_id, r.due_at AS due_at, r.occurred_at AS occurred_at, r.requested_at AS requested_at,
    d.outcome AS outcome, d.reason AS decision_reason, d.until AS until, d.decided_at AS decided_at,
    multiIf(
        x.notification_id != '', 'dead_letter',
        d.notification_id = '', 'undecided',
        l.delivered > 0, 'delivered',
        d.outcome = 'defer', 'waiting',
        l.sent > 0, 'sent',
        l.at_its_sink > 0, 'waiting',
        d.outcome = 'suppress', 'suppressed',
        l.waiting > 0 AND l.failed = 0 AND l.unknown = 0 AND l.stopped = 0, 'waiting',
        l.unknown > 0, 'unknown',
        l.failed > 0, 'failed',
        l.stopped > 0, 'suppressed',
        'waiting') AS state,
    multiIf(
        state = 'dead_letter', x.error_code,
        state = 'waiting' AND d.outcome = 'defer', toString(d.reason),
        state = 'waiting' AND l.sending > 0, 'sending',
        state = 'waiting' AND l.at_its_sink > 0, 'queued',
        state = 'waiting', 'not_taken',
        state = 'suppressed' AND d.outcome = 'suppress', toString(d.reason),
        state = 'unknown', l.unknown_reason,
        state = 'failed', l.failed_reason,
        state = 'suppressed', l.stopped_reason,
        state = 'sent' AND l.at_its_sink = 0 AND l.sent = l.sent_by_push, 'no_receipts',
        state = 'sent' AND l.overdue > 0, 'receipt_timeout',
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
        countIf(status IN ('queued', 'sending')) AS at_its_sink,
        countIf(status = 'sending') AS sending,
        countIf(status IN ('failed', 'undelivered', 'bounced')) AS failed,
        countIf(status = 'unknown') AS unknown,
        countIf(status IN ('suppressed', 'cancelled', 'expired')) AS stopped,
        countIf(status = 'waiting') AS waiting,
        countIf(receipt_overdue AND status IN ('sent', 'queued', 'sending')) AS overdue,
        minIf(reason, status = 'unknown' AND reason != '') AS unknown_reason,
        minIf(reason, status IN ('failed', 'undelivered', 'bounced') AND reason != '') AS failed_reason,
        minIf(reason, status IN ('suppressed', 'cancelled', 'expired') AND reason != '') AS stopped_reason,
        groupUniqArray(toString(channel)) AS channels
    FROM {database}.delivery_log
    GROUP BY notification_id
) AS l ON l.notification_id = r.notification_id
LEFT JOIN (
    SELECT notification_id, any(toString(x.error_code)) AS error_code
    FROM {database}.raw_dead_letter AS x FINAL
    WHERE notification_id IS NOT NULL AND x.error_code != 'plan_exhausted'
    GROUP BY notification_id
) AS x ON x.notification_id = r.notification_id
COMMENT 'One row a requested notification, by its final state and reason'
