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
        -- One row for each upload. Nothing that is indexed changes with the append of a chunk, and pages keep room for new
        -- versions of their rows (HOT).
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
    END IF;
    IF (SELECT version FROM incoming.meta) < 2 THEN
        ALTER TABLE incoming.upload
            -- 0 new, 1 uploading, 2 handing over, 3 finished, 4 cancelled, 5 failed.
            ADD COLUMN state smallint NOT NULL DEFAULT 0,
            -- Whether it counts against max_uploads.
            ADD COLUMN occupies boolean NOT NULL DEFAULT true,
            -- Milliseconds for which servers have run (see meta) when it is to be looked at, since its backend has to be
            -- called, and when the next call is due.
            ADD COLUMN due bigint NOT NULL DEFAULT 0,
            ADD COLUMN call_since bigint,
            ADD COLUMN call_due bigint,
            -- Who calls its backend, until when.
            ADD COLUMN call_by bigint,
            ADD COLUMN call_until timestamptz;
        CREATE INDEX upload_due ON incoming.upload (due);
        CREATE INDEX upload_call ON incoming.upload (call_due) WHERE call_due IS NOT NULL;
        CREATE INDEX upload_state ON incoming.upload (state, id);
        ALTER TABLE incoming.meta
            -- When a server last said that it runs, and the milliseconds since 1970 in which none did.
            ADD COLUMN beat timestamptz NOT NULL DEFAULT now(),
            ADD COLUMN idle_ms bigint NOT NULL DEFAULT 0;
        UPDATE incoming.meta SET version = 2;
    END IF;
    IF (SELECT version FROM incoming.meta) < 3 THEN
        -- One row for each server, renewed while it runs: for people alone.
        CREATE TABLE incoming.server (
            -- As in held_by and call_by.
            id bigint PRIMARY KEY,
            -- What its machine is called, and where its backend API listens.
            name text NOT NULL,
            address text NOT NULL,
            -- Of the program.
            version text NOT NULL,
            started timestamptz NOT NULL,
            seen timestamptz NOT NULL,
            -- 0 ready, 1 not ready, 2 stopping, 3 stopped.
            state smallint NOT NULL,
            problems text[] NOT NULL,
            -- Chunks in flight, connections, bytes received and acknowledged a second.
            chunks bigint NOT NULL,
            connections bigint NOT NULL,
            received bigint NOT NULL,
            acknowledged bigint NOT NULL
        );
        UPDATE incoming.meta SET version = 3;
    END IF;
END
$$;
COMMIT;
