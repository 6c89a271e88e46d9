CREATE OR REPLACE VIEW {database}.engagement
AS
-- What people opened and clicked of what is counted (marketing and engagement; docs/adr/0018): a notification type on a channel.
-- Messages, not clicks: who opens twice counts once. Machines (previews, scanners, mail programs that load pictures ahead) stand apart.
SELECT
    m.notification_type AS notification_type, m.channel AS channel, m.template_id AS template_id, m.template_version AS template_version,
    count() AS messages,
    countIf(s.sent) AS sent,
    countIf(s.opened) AS opened,
    countIf(s.clicked) AS clicked,
    countIf(s.machine_opened) AS opened_by_machine,
    countIf(s.machine_clicked) AS clicked_by_machine,
    round(opened / nullIf(sent, 0), 4) AS open_rate,
    round(clicked / nullIf(sent, 0), 4) AS click_rate
FROM {database}.raw_channel_message AS m FINAL
LEFT JOIN (
    SELECT
        delivery_id,
        countIf(status = 'sent' AND ifNull(provider_status, '') NOT LIKE 'machine_%') > 0 AS sent,
        countIf(status IN ('read', 'clicked')) > 0 AS opened,
        countIf(status = 'clicked') > 0 AS clicked,
        countIf(provider_status = 'machine_open') > 0 AS machine_opened,
        countIf(provider_status = 'machine_click') > 0 AS machine_clicked
    FROM {database}.raw_delivery_status FINAL
    GROUP BY delivery_id
) AS s ON s.delivery_id = m.delivery_id
GROUP BY notification_type, channel, template_id, template_version
HAVING countIf(m.sender_class = 'marketing') > 0 OR opened + clicked + opened_by_machine + clicked_by_machine > 0
COMMENT 'By marketing type, channel and template version: opened and clicked by people, and by machines apart'
