CREATE OR REPLACE VIEW {database}.sms_costs
AS
-- Text messages, their segments and what these cost at the price that the sink was started with (LUXE_SMS_SEGMENT_PRICE), a clinic's
-- month and type at a time. Carriers' fees and other countries' prices are not in it.
SELECT
    clinic_id, toStartOfMonth(sent_at) AS month, notification_type,
    count() AS messages,
    sum(segments) AS segments,
    segments * toDecimal64('{sms_segment_price}', 6) AS cost
FROM {database}.delivery_log
WHERE channel = 'sms' AND sent_at IS NOT NULL
GROUP BY clinic_id, month, notification_type
COMMENT 'Text messages, segments and their cost by clinic, month and type, at one price a segment'
