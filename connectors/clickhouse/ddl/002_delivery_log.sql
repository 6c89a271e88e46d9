CREATE OR REPLACE VIEW {database}.delivery_log
AS
-- One row a delivery (one step of one notification on one channel): its way and where it stands.
-- Terminal statuses outrank the others; an email's bounce outranks its delivery (it comes after it), an SMS's first terminal one stays.
-- An unknown outcome is no end: the provider's receipt may still tell it.
-- Of several attempts the latest counts: what an earlier one came to is why there was another.
SELECT
    m.delivery_id AS delivery_id, m.notification_id AS notification_id, m.notification_type AS notification_type,
    m.category AS category, m.channel AS channel, m.lane AS lane, m.step AS step,
    m.recipient AS recipient, m.clinic_id AS clinic_id,
    m.template_id AS template_id, m.template_version AS template_version, m.locale AS locale, m.segments AS segments, m.pictures AS pictures, m.country AS country,
    m.correlation_id AS correlation_id, m.occurred_at AS occurred_at, m.created_at AS created_at,
    s.queued_at AS queued_at, s.sent_at AS sent_at, s.delivered_at AS delivered_at, s.read_at AS read_at, s.clicked_at AS clicked_at,
    s.acknowledged_at AS acknowledged_at,
    multiIf(
        s.delivery_id = '', 'waiting',
        s.bounced AND m.channel = 'email', 'bounced',
        s.final_status != '', s.final_status,
        s.sent_at IS NOT NULL, 'sent',
        s.unknown, 'unknown',
        s.sending, 'sending',
        'queued') AS status,
    s.reason AS reason, s.provider AS provider, s.provider_message_id AS provider_message_id,
    s.error_class AS error_class, s.error_code AS error_code, s.attempts AS attempts, s.last_at AS last_status_at,
    s.receipt_overdue AS receipt_overdue
FROM (SELECT * FROM {database}.raw_channel_message FINAL ORDER BY attempt DESC LIMIT 1 BY delivery_id) AS m
LEFT JOIN (
    SELECT
        delivery_id,
        minIf(toNullable(status_at), status = 'queued') AS queued_at,
        minIf(toNullable(status_at), status = 'sent') AS sent_at,
        minIf(toNullable(status_at), status = 'delivered') AS delivered_at,
        minIf(toNullable(status_at), status = 'read') AS read_at,
        minIf(toNullable(status_at), status = 'clicked') AS clicked_at,
        minIf(toNullable(status_at), status = 'acknowledged') AS acknowledged_at,
        countIf(status = 'bounced') > 0 AS bounced,
        countIf(status = 'sending') > 0 AS sending,
        argMinIf(if(status IN ('read', 'clicked', 'acknowledged', 'complained', 'unsubscribed'), 'delivered', toString(status)), status_at,
            status IN ('delivered', 'read', 'clicked', 'acknowledged', 'complained', 'unsubscribed', 'undelivered', 'failed', 'bounced', 'expired', 'suppressed', 'cancelled')) AS final_status,
        countIf(status = 'unknown') > 0 AS unknown,
        countIf(t.reason = 'receipt_timeout') > 0 AS receipt_overdue,
        argMinIf(t.reason, (t.status_at, t.reason), t.reason NOT IN ('', 'receipt_timeout')) AS reason,
        anyIf(provider, provider != '') AS provider,
        any(provider_message_id) AS provider_message_id,
        any(error_class) AS error_class,
        any(error_code) AS error_code,
        max(attempt) AS attempts,
        max(status_at) AS last_at
    FROM (
        SELECT *, max(attempt) OVER (PARTITION BY delivery_id) AS latest FROM {database}.raw_delivery_status FINAL
    ) AS t
    WHERE attempt = latest
    GROUP BY delivery_id
) AS s ON s.delivery_id = m.delivery_id
COMMENT 'One row a delivery: its way through the provider, and where it stands'
