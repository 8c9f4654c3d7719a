-- The tables of Incoming!!; applied once, and again without effect. A start applies it where its role may create a schema.
BEGIN;
-- One server at a time.
SELECT pg_advisory_xact_lock(4861263521);
CREATE SCHEMA IF NOT EXISTS incoming;
CREATE TABLE IF NOT EXISTS incoming.meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL,
    -- The same is in the bucket: so no two databases use one bucket.
    cluster uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO incoming.meta (version) VALUES (0) ON CONFLICT DO NOTHING;
DO $$
BEGIN
    IF (SELECT version FROM incoming.meta) < 1 THEN
        -- One row for each upload. Nothing that is indexed changes with an append, and pages keep room for new versions of
        -- their rows (HOT).
        CREATE TABLE incoming.upload (
            id uuid PRIMARY KEY,
            -- The last append: its number, and what its author called it.
            seq bigint NOT NULL,
            tag bigint NOT NULL,
            -- Who does background work for it, until when.
            held_by bigint,
            held_until timestamptz,
            made timestamptz NOT NULL DEFAULT now()
        ) WITH (fillfactor = 50);
        -- One row for each append: events as in journals.
        CREATE TABLE incoming.record (
            upload uuid NOT NULL REFERENCES incoming.upload ON DELETE CASCADE,
            seq bigint NOT NULL,
            tag bigint NOT NULL,
            body bytea NOT NULL,
            PRIMARY KEY (upload, seq)
        );
        UPDATE incoming.meta SET version = 1;
    END IF;
END
$$;
COMMIT;
