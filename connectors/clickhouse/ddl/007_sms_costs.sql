CREATE OR REPLACE VIEW {database}.sms_costs
AS
-- Text messages and what they cost at the prices that the sink was started with, a clinic's month and type at a time: the segments
-- of a text (LUXE_SMS_SEGMENT_PRICE), one with a picture whole (LUXE_MMS_PRICE). Carriers' fees and other countries' prices are not in it.
SELECT
    clinic_id, toStartOfMonth(sent_at) AS month, notification_type,
    count() AS messages,
    sumIf(segments, pictures = 0) AS segments,
    countIf(pictures > 0) AS with_pictures,
    segments * toDecimal64('{sms_segment_price}', 6) + with_pictures * toDecimal64('{mms_price}', 6) AS cost
FROM {database}.delivery_log
WHERE channel = 'sms' AND sent_at IS NOT NULL
GROUP BY clinic_id, month, notification_type
COMMENT 'Text messages, segments, those with pictures, and their cost by clinic, month and type, at one price each'
