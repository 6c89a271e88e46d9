CREATE OR REPLACE VIEW {database}.sms_prices
AS
-- What a text costs, from the file of prices (LUXE_SMS_PRICES_FILE) that the sink was started with: a row a country, and one more for each
-- clinic with a contract of its own there. A country without a row has no price that we know. Carriers' fees are not in it.
SELECT
    entry.1 AS clinic_id, entry.2 AS country, entry.3 AS segment_price, entry.4 AS picture_price, entry.5 AS currency,
    entry.6 AS source, entry.7 AS as_of
FROM (
    SELECT arrayJoin(CAST(
        {sms_prices},
        'Array(Tuple(String, String, Nullable(Decimal(18, 6)), Nullable(Decimal(18, 6)), String, String, Date))')) AS entry
)
COMMENT 'What a text costs by country of its number (a segment; one with a picture), by clinic where it has a contract of its own'
