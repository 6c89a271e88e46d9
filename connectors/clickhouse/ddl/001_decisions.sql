CREATE OR REPLACE VIEW {database}.decisions
AS
-- Every decision on every notification, in order; `is_last` marks the one that counts.
-- `says` is its reason in words; `against` each rule that did not pass, as `rule channel: reason`.
SELECT
    notification_id, sequence, event_id, event_type, notification_type, category, lane, recipient, clinic_id,
    aggregate_type, aggregate_id, aggregate_version, outcome, reason,
    transform(toString(reason), {reasons}, {phrases}, toString(reason)) AS says,
    arrayMap(
        r -> concat(r.rule, if(ifNull(toString(r.channel), '') = '', '', concat(' ', ifNull(toString(r.channel), ''))), ': ', r.reason),
        arrayFilter(r -> r.verdict IN ('veto', 'narrow', 'defer'), rules)) AS against,
    until, steps, rules,
    recipient_version, consent_versions, policy_version, catalog_version, template_id, digest_id, occurred_at, decided_at,
    sequence = max(sequence) OVER (PARTITION BY notification_id) AS is_last
FROM {database}.raw_decision FINAL
COMMENT 'Every decision on every notification, in order and in words; is_last marks the one that counts'
