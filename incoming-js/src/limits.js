/**
 * Every bound and pause of the library, by name, with the reason for its value.
 * Nothing here computes anything.
 */

/** Bytes of the smallest chunk ever tried: below it the request overhead eats a fast line. */
export const MIN_CHUNK_BYTES = 256 * 1024;

/** Chunk size when the server suggests none. The same as the server's own default. */
export const DEFAULT_CHUNK_BYTES = 8 * 1024 * 1024;

/** Chunks in flight per uploader when the server suggests none. The same as the server's own default. */
export const DEFAULT_SEND_AHEAD = 4;

/** Chunks in flight per origin, over all uploaders of the page. A browser opens six HTTP/1.1 connections. */
export const CHUNK_CONNECTIONS = 4;

/** Connections all requests but cancelling may take: six less the one that stays free for cancelling. */
export const SHARED_CONNECTIONS = 5;

/** Seconds a lone long poll asks the server to wait: under the 30 s after which many proxies hang up. */
export const POLL_WAIT_S = 25;

/** Seconds one status request waits while another uploader sends the file: often enough for a moving bar. */
export const WATCH_WAIT_S = 2;

/** Without progress by the other uploader for so long, it is taken for dead and sending starts again. */
export const WATCH_IDLE_MS = 5 * 60_000;

/** Times in a row an uploader lets itself be superseded before it leaves the sending to the other one. */
export const SUPERSEDED_LIMIT = 3;

/** Patience until the first byte of a chunk moves; other tabs may hold the connections. */
export const FIRST_BYTE_MS = 60_000;

/** Patience between two moves of bytes. */
export const STALL_MS = 30_000;

/** Patience for the answer once a chunk is with the network: its tail drains, a big file gets synced. */
export const ANSWER_MS = 120_000;

/** Patience for the answer to a request without payload, beyond what it asks the server to wait. */
export const CONTROL_MS = 30_000;

/** Retry pauses grow from the first to the last. */
export const RETRY_FIRST_MS = 1_000;
export const RETRY_LAST_MS = 60_000;

/** A Retry-After longer than this is cut to it, so that a typing error does not end an upload. */
export const RETRY_AFTER_LAST_MS = 3_600_000;

/** While bytes flow `onprogress` comes at most this often: once per frame of a 60 Hz screen. */
export const PROGRESS_MS = 16;
