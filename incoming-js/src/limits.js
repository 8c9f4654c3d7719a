/**
 * Every limit, timeout and pause of the library, with the reason for its value. No code.
 */

// Chunks

/** Smallest chunk that is tried, in bytes. Below this the cost of a request slows down a fast line. */
export const MIN_CHUNK_BYTES = 256 * 1024;

/** First chunk, before the line is measured: what 4 Mbit/s carries in one second. */
export const FIRST_CHUNK_BYTES = 512 * 1024;

/** Largest chunk, whatever the server suggests. */
export const MAX_CHUNK_BYTES = 1024 ** 3;

/** Chunk size when the server suggests none. Equal to the server's default. */
export const DEFAULT_CHUNK_BYTES = 8 * 1024 * 1024;

/**
 * Time from a chunk's request to its acknowledgement. Long enough that a round trip and a sync on the server cost little,
 * short enough that a lost chunk costs little. Between FAST and SLOW the size stays as it is.
 */
export const CHUNK_FAST_MS = 1_000;
export const CHUNK_GOAL_MS = 1_500;
export const CHUNK_SLOW_MS = 2_000;

/** A chunk is at most this part of the file, or the size that the server suggests if that is more, so that progress stays visible. */
export const CHUNKS_PER_FILE = 64;

/** Largest chunk that is hashed. Hashing needs the chunk in memory. */
export const HASH_BYTES = 16 * 1024 * 1024;

/** Bytes that are sent last, after all others are acknowledged and compared. About one packet: costs a slow line nothing. */
export const FINAL_BYTES = 16 * 1024;

// Chunks in flight

/** At the start: one on the line while the answer to the other is under way. */
export const FIRST_IN_FLIGHT = 2;

/** Per uploader, when the server suggests no number. Equal to the server's default. */
export const DEFAULT_SEND_AHEAD = 4;

/** One more in flight must raise the rate by this factor to stay: above noise, below what two lose by ending together. */
export const IN_FLIGHT_GAIN = 1.07;

/** Shortest time over which a rate is measured. */
export const IN_FLIGHT_WINDOW_MS = 1_000;

/** Most measurements between two trials of one more in flight. */
export const IN_FLIGHT_REST = 32;

/** A small chunk that takes this long shows a line on which parallel chunks only delay each other. */
export const CRAWL_MS = 4_000;

// Connections. A browser opens six HTTP/1.1 connections to one origin.

/** For chunks, per origin, over all uploaders of the page. */
export const CHUNK_CONNECTIONS = 4;

/** For all requests except cancelling: one of the six stays free for cancelling. */
export const SHARED_CONNECTIONS = 5;

/** No upload is begun while this many uploads wait to send a chunk: enough to keep every connection busy. */
export const MAX_WAITING_CHUNKS = 8;

// Comparison of the file with the server's bytes

/** Size of a piece that is compared or hashed: small to read, too large to guess. */
export const PIECE_BYTES = 64 * 1024;

/** The server does not compare smaller pieces. */
export const MIN_PIECE_BYTES = 4 * 1024;

/** Pieces in one comparison: the most that the server takes. 1 MiB in all, hashed in some milliseconds. */
export const PIECES = 16;

/** Comparisons in a row that may fail for another reason than the file. After that the upload goes on without. */
export const VERIFY_TRIES = 3;

/** Pause between tries to read a file that cannot be read, and the number of tries before the upload fails: network drives come back. */
export const READ_PAUSE_MS = 10_000;
export const READ_TRIES = 4;

// Status requests

/** Seconds that a long poll asks the server to wait: below the 30 s after which many proxies close the connection. */
export const POLL_WAIT_S = 25;

/** The same while another uploader sends the file: short, so that the progress bar moves. */
export const OBSERVE_WAIT_S = 2;

/** Without progress by the other uploader or tab for this long, it counts as dead and this one sends again. */
export const OBSERVE_IDLE_MS = 5 * 60_000;

/** Times in a row that an uploader is superseded before it leaves the sending to the other one. */
export const SUPERSEDED_LIMIT = 3;

/**
 * After a pause aborted chunks: delay until the server has counted what arrived of them. If it has not, further status
 * requests follow, each after twice the delay.
 */
export const PAUSED_POLL_MS = 700;
export const PAUSED_POLLS = 4;

// Timeouts of one request

/** Until the first byte of a chunk moves. Other tabs may hold the connections. */
export const FIRST_BYTE_MS = 60_000;

/** Between two moves of bytes. */
export const STALL_MS = 30_000;

/** Until the answer to a chunk that is fully sent: buffers drain, a large file is synced. */
export const ANSWER_MS = 120_000;

/** Until the answer to a request without a body, in addition to the time it asks the server to wait. */
export const CONTROL_MS = 30_000;

/** Until the page has given its headers and the chunk is hashed. A person may have to log in first. */
export const PREPARE_MS = 60_000;

/** A chunk that stands still this long: the file is checked, since some browsers just stop where a file ends too early. */
export const STILL_MS = 3_000;

/** A chunk that stands still this long while a later one is acknowledged is sent again. */
export const OVERTAKEN_MS = 2_500;

/**
 * If a chunk reports no progress at all, its timeouts double after each stall, up to this factor: behind a service worker
 * browsers do not report how much of a body is sent.
 */
export const MAX_PATIENCE = 8;

/**
 * A timer that fires this late was held back: hidden tabs get one a minute, a machine may have slept. Progress made
 * meanwhile may not be reported yet. Hidden tabs are late by one second as a rule.
 */
export const LATE_MS = 2_000;

// Retries

/** The pause between tries grows from the first value to the second. */
export const RETRY_FIRST_MS = 1_000;
export const RETRY_LAST_MS = 60_000;

/** Longest Retry-After that is obeyed, so that a wrong one does not end an upload. */
export const RETRY_AFTER_LAST_MS = 3_600_000;

/**
 * Answers in a row that contradict earlier ones, or deny the upload, before they are believed: a proxy may be wrong for a
 * while. After a denial the first pause is ABSENT_MS, and each further one is twice as long.
 */
export const CONTRADICTIONS = 6;
export const ABSENT_MS = 60_000;

/** The retry countdown that the page sees is updated this often. */
export const COUNTDOWN_MS = 1_000;

// Sizes of texts

/** UTF-16 units of a cancel reason. Percent-encoded it fits the 8 KiB that proxies allow for a request line. */
export const REASON_CHARS = 500;

/** UTF-16 units of a file's name and of its type: more than file systems allow. */
export const NAME_CHARS = 500;

/** A longer answer is not the server's: a status lists at most 4096 ranges, about 170 KiB. */
export const ANSWER_BYTES = 1024 * 1024;

// Tabs

/** Without an answer from the lock manager for this long, the upload counts as this tab's. */
export const LOCK_MS = 2_000;

/** Without Web Locks: time that another tab has for its reply, and pause before a waiting tab asks again. */
export const CHANNEL_REPLY_MS = 300;
export const CHANNEL_RETRY_MS = 5_000;

// Resume records

/** Shortest time between two writes of the progress. */
export const RECORD_WRITE_MS = 5_000;

/**
 * A record that was not touched for this long is removed if the server denies the upload. The clock alone removes nothing,
 * since it may be wrong. This many are checked at a time.
 */
export const RECORD_AGE_MS = 7 * 24 * 3_600_000;
export const RECORD_CHECKS = 16;

/** Most records; those of the earliest visits go first. */
export const MAX_RECORDS = 5_000;

/** Timeout for the server's answer about a recorded upload, and for the database. */
export const RECALL_MS = 5_000;

// What the page sees

/** Shortest time between two `onprogress` calls while bytes flow: one frame of a 60 Hz screen. */
export const PROGRESS_MS = 16;

/** The shown rate is the average over this long: several chunks, but recent. */
export const RATE_WINDOW_MS = 10_000;

/** No rate is shown before this much time was measured. */
export const RATE_MIN_MS = 500;

/** Acknowledgements within this time count as one. */
export const RATE_TOGETHER_MS = 100;
