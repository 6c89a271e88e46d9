-- A list is compared with the list before it, not with what was said of its slot since: a claim of ours counts there too.
ALTER TABLE waitlist_slots ADD COLUMN announced_version bigint NOT NULL DEFAULT -1;
UPDATE waitlist_slots SET announced_version = version WHERE state <> 'unannounced';

-- Nobody is asked twice about one hour. Whose offer was withdrawn since the hour was changed is asked about the new one.
ALTER TABLE waitlist_offers DROP CONSTRAINT waitlist_offers_clinic_id_slot_id_patient_id_key;
CREATE UNIQUE INDEX waitlist_offers_asked_once ON waitlist_offers (clinic_id, slot_id, patient_id)
    WHERE outcome IS DISTINCT FROM 'withdrawn';
