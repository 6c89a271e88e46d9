-- Every version of every template; a notification pins the version it used, so versions are never changed or removed.

CREATE TABLE templates (
    template_id text NOT NULL,
    channel     text NOT NULL,
    locale      text NOT NULL,
    version     int NOT NULL CHECK (version >= 1),
    status      text NOT NULL CHECK (status IN ('draft', 'active', 'archived')),
    content     jsonb NOT NULL,                          -- name, category, subject, body, html, variables
    created_at  timestamptz NOT NULL,
    created_by  text NOT NULL,
    activated_at timestamptz,
    PRIMARY KEY (template_id, channel, locale, version)
);

CREATE UNIQUE INDEX templates_one_active ON templates (template_id, channel, locale) WHERE status = 'active';
