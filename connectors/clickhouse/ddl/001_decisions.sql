CREATE OR REPLACE VIEW {database}.decisions
AS
-- Every decision on every notification, in order; `is_last` marks the one that counts.
SELECT
    notification_id, sequence, event_id, event_type, notification_type, category, lane, recipient, clinic_id,
    aggregate_type, aggregate_id, aggregate_version, outcome, reason, until, steps, rules,
    recipient_version, policy_version, catalog_version, template_id, occurred_at, decided_at,
    sequence = max(sequence) OVER (PARTITION BY notification_id) AS is_last
FROM {database}.raw_decision FINAL
COMMENT 'Every decision on every notification, in order; is_last marks the one that counts'
