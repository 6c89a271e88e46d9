CREATE OR REPLACE VIEW {database}.sms_costs
AS
-- Text messages and what they cost at the prices that the sink was started with (sms_prices), by clinic, month, type and country of the
-- number: the segments of a text, one with a picture whole. A clinic's own contract goes before the list, whole. What has no price has no
-- cost (NULL): an unknown country, one that is not in the list, a message of before countries were carried.
SELECT
    t.clinic_id AS clinic_id, t.month AS month, t.notification_type AS notification_type, t.country AS country,
    t.messages AS messages, t.segments AS segments, t.with_pictures AS with_pictures,
    if(t.segments = 0, 0, t.segments * if(own.country != '', own.segment_price, listed.segment_price))
        + if(t.with_pictures = 0, 0, t.with_pictures * if(own.country != '', own.picture_price, listed.picture_price)) AS cost,
    if(cost IS NULL, '', if(own.country != '', own.currency, listed.currency)) AS currency
FROM (
    SELECT
        clinic_id, toStartOfMonth(sent_at) AS month, notification_type, toString(country) AS country,
        count() AS messages,
        sumIf(segments, pictures = 0) AS segments,
        countIf(pictures > 0) AS with_pictures
    FROM {database}.delivery_log
    WHERE channel = 'sms' AND sent_at IS NOT NULL
    GROUP BY clinic_id, month, notification_type, country
) AS t
LEFT JOIN (SELECT * FROM {database}.sms_prices WHERE clinic_id = '') AS listed ON listed.country = t.country
LEFT JOIN (SELECT * FROM {database}.sms_prices WHERE clinic_id != '') AS own ON own.clinic_id = t.clinic_id AND own.country = t.country
COMMENT 'Text messages, segments, those with pictures, and their cost by clinic, month, type and country; no price known: no cost'
