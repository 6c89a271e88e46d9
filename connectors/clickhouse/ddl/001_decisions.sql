CREATE OR REPLACE VIEW {database}.decisions
AS
-- Every decision on every notification, in order; `is_last` marks the one that counts.
-- `says` is its reason in words; `against` each rule that did not pass, as `rule channel: reason`; `sentence` can be said at the front desk.
-- The sentence is connectors/explaining/sentence.py's, as far as the decision alone can tell: who said what when, and what arrived,
-- `luxe explain` adds. Its times are the clinic's.
WITH
    if(startsWith(d.recipient, 'patient:'), 'the patient', 'the colleague') AS who,
    concat(
        replaceAll(replaceRegexpOne(toString(d.notification_type), '_([0-9]+h|message)$', ''), '_', ' '), ' message',
        if(match(toString(d.notification_type), '_[0-9]+h$'), concat(' (', extract(toString(d.notification_type), '_([0-9]+)h$'), ' h before)'), '')
    ) AS kind,
    replaceAll(transform(toString(d.reason), {reasons}, {phrases}, toString(d.reason)), '{who}', who) AS phrase,
    -- (channel, reason) of what fell, the first reason of each channel.
    arrayMap(r -> (ifNull(toString(r.channel), ''), toString(r.reason)), arrayFilter(r -> r.verdict = 'narrow' AND ifNull(toString(r.channel), '') != '', d.rules)) AS fallen,
    arrayFilter((f, n) -> indexOf(arrayMap(x -> x.1, fallen), f.1) = n, fallen, arrayEnumerate(fallen)) AS closed,
    arrayFilter(f -> has(if(d.outcome = 'deliver', {wishes}, {closed_reasons}), f.2), closed) AS worth_a_word,
    -- Hardly anybody has our app; it is no answer to why.
    if(length(worth_a_word) > 1, arrayFilter(f -> f != ('push', 'unreachable'), worth_a_word), worth_a_word) AS told,
    arrayMap(why -> replaceAll(replaceAll(transform(why, {closed_reasons}, {closed_phrases}, why), '{who}', who), '{them}',
        replaceRegexpOne(arrayStringConcat(arrayMap(f -> transform(f.1, {channels}, {channel_words}, f.1), arrayFilter(f -> f.2 = why, told)), ', '), ', ([^,]+)$', ' and \\1')
    ), arrayDistinct(arrayMap(f -> f.2, told))) AS clauses,
    toString(arrayFirst(r -> r.verdict = 'defer', d.rules).reason) AS waited,
    if(has((SELECT groupArray(time_zone) FROM system.time_zones), p.time_zone), p.time_zone, 'UTC') AS zone,
    if(d.outcome = 'defer', d.until, d.decided_at) AS moment,
    concat(formatDateTime(moment, '%H:%i', zone), ' on ', trimLeft(formatDateTime(moment, '%e %M', zone))) AS clock,
    -- The first step and those taken together with it; a later decision's plan begins at a later step.
    arrayFirstIndex(s -> NOT s.parallel, arraySlice(d.steps, 2)) AS together,
    arrayMap(s -> transform(toString(s.channel), {channels}, {message_words}, toString(s.channel)), arraySlice(d.steps, 1, if(together = 0, length(d.steps), together))) AS first_messages,
    multiIf(
        d.outcome = 'defer', concat('the ', kind, ' waits', ifNull(concat(' until ', clock), ''), ', because ', phrase),
        d.outcome = 'deliver', arrayStringConcat(arrayPushBack(arraySlice(clauses, 1, {most_clauses}), concat('the ', kind, ' was to go out by ',
            replaceRegexpOne(arrayStringConcat(first_messages, ', '), ', ([^,]+)$', ' and \\1'), ' at ', ifNull(clock, ''))), '; '),
        has({closed_reasons}, toString(d.reason)) AND has(arrayMap(f -> f.2, closed), toString(d.reason)) AND notEmpty(clauses),
            arrayStringConcat(arrayPushBack(arraySlice(clauses, 1, {most_clauses} + 1), concat('no other way was left, so the ', kind, ' was not sent')), '; '),
        concat('the ', kind, ' was not sent, because ', if(d.reason = 'expired' AND waited != '',
            concat(replaceAll(transform(waited, {reasons}, {phrases}, waited), '{who}', who), ', and it would mean nothing after that'), phrase))) AS text
SELECT
    d.notification_id AS notification_id, d.sequence AS sequence, d.event_id AS event_id, d.event_type AS event_type,
    d.notification_type AS notification_type, d.category AS category, d.lane AS lane, d.recipient AS recipient, d.clinic_id AS clinic_id,
    d.aggregate_type AS aggregate_type, d.aggregate_id AS aggregate_id, d.aggregate_version AS aggregate_version,
    d.outcome AS outcome, d.reason AS reason, phrase AS says,
    concat(upper(substringUTF8(text, 1, 1)), substringUTF8(text, 2), '.') AS sentence,
    arrayMap(
        r -> concat(r.rule, if(ifNull(toString(r.channel), '') = '', '', concat(' ', ifNull(toString(r.channel), ''))), ': ', r.reason),
        arrayFilter(r -> r.verdict IN ('veto', 'narrow', 'defer'), d.rules)) AS against,
    d.until AS until, d.steps AS steps, d.rules AS rules,
    d.recipient_version AS recipient_version, d.consent_versions AS consent_versions, d.policy_version AS policy_version,
    d.catalog_version AS catalog_version, d.template_id AS template_id, d.digest_id AS digest_id,
    d.occurred_at AS occurred_at, d.decided_at AS decided_at,
    d.sequence = max(d.sequence) OVER (PARTITION BY d.notification_id) AS is_last
FROM {database}.raw_decision AS d FINAL
LEFT JOIN (SELECT clinic_id, argMax(time_zone, version) AS time_zone FROM {database}.raw_clinic_policy GROUP BY clinic_id) AS p ON p.clinic_id = d.clinic_id
COMMENT 'Every decision on every notification, in order and in words; is_last marks the one that counts'
