/**
 * Every bound and pause of the library, by name, with the reason for its value.
 * Nothing here computes anything.
 */

/** Bytes of the smallest chunk ever tried: below it the request overhead eats a fast line. */
export const MIN_CHUNK_BYTES = 256 * 1024;

/** Bytes of the first chunk, when nothing is known about the line: what one second of 4 Mbit/s carries. */
export const FIRST_CHUNK_BYTES = 512 * 1024;

/**
 * How long a chunk should take, from the request to the acknowledgement: long enough that a round trip and a sync of
 * the server weigh little, short enough that a break costs little. Between the first and the last nothing is changed.
 */
export const CHUNK_FAST_MS = 1_000;
export const CHUNK_GOAL_MS = 1_500;
export const CHUNK_SLOW_MS = 2_000;

/** A chunk is at most this part of the file, or what the server suggests where that is more: progress stays visible. */
export const CHUNKS_PER_FILE = 64;

/** Larger chunks are not hashed: a chunk has to be in memory for it. */
export const HASH_BYTES = 16 * 1024 * 1024;

/** Bytes of a piece of the file that is compared or remembered: small to read, too large to be guessed. */
export const PIECE_BYTES = 64 * 1024;

/** Smaller pieces are not compared by the server. */
export const MIN_PIECE_BYTES = 4 * 1024;

/** Pieces compared at once: as many as the server takes. Together 1 MiB, hashed in some milliseconds. */
export const PIECES = 16;

/** Bytes kept back until all others are acknowledged and compared: a packet or so, that costs a slow line nothing. */
export const LAST_BYTES = 16 * 1024;

/** Comparisons in a row that may go wrong, for another reason than the file, before the upload goes on without. */
export const VERIFY_TRIES = 3;

/** Chunks in flight at first: one on the line while the answer to the other is under way. */
export const FIRST_IN_FLIGHT = 2;

/** One more in flight has to raise the rate by so much to stay: more than chance brings, less than two lose by ending together. */
export const IN_FLIGHT_GAIN = 1.07;

/** A rate is measured over at least so long. */
export const IN_FLIGHT_WINDOW_MS = 1_000;

/** Measurements between two trials of one more in flight grow up to this number. */
export const IN_FLIGHT_REST = 32;

/** A small chunk that takes so long shows a line on which chunks side by side only wait for each other. */
export const CRAWL_MS = 4_000;

/** Chunk size when the server suggests none. The same as the server's own default. */
export const DEFAULT_CHUNK_BYTES = 8 * 1024 * 1024;

/** Chunks in flight per uploader when the server suggests none. The same as the server's own default. */
export const DEFAULT_SEND_AHEAD = 4;

/** Chunks in flight per origin, over all uploaders of the page. A browser opens six HTTP/1.1 connections. */
export const CHUNK_CONNECTIONS = 4;

/** Connections all requests but cancelling may take: six less the one that stays free for cancelling. */
export const SHARED_CONNECTIONS = 5;

/** Uploads that wait to send a chunk before more are begun: enough that no connection is idle. */
export const BOUND_WAITING = 8;

/** Seconds a lone long poll asks the server to wait: under the 30 s after which many proxies hang up. */
export const POLL_WAIT_S = 25;

/** Seconds one status request waits while another uploader sends the file: often enough for a moving bar. */
export const WATCH_WAIT_S = 2;

/** Without progress by the other uploader or tab for so long, it is taken for dead and sending starts again. */
export const WATCH_IDLE_MS = 5 * 60_000;

/** Times in a row an uploader lets itself be superseded before it leaves the sending to the other one. */
export const SUPERSEDED_LIMIT = 3;

/** Patience until the first byte of a chunk moves; other tabs may hold the connections. */
export const FIRST_BYTE_MS = 60_000;

/** Patience between two moves of bytes. */
export const STALL_MS = 30_000;

/** A chunk on which no byte moves for so long: the file is looked at, since some browsers just stop where it ends too early. */
export const STILL_MS = 3_000;

/** A chunk on which no byte moves for so long while one that began later is acknowledged is sent again. */
export const OVERTAKEN_MS = 2_500;

/** Patience for the answer once a chunk is with the network: its tail drains, a big file gets synced. */
export const ANSWER_MS = 120_000;

/**
 * Where a chunk shows no sign of life its patience is doubled after each stall, up to this: behind a service worker
 * browsers do not tell how much of a body is sent.
 */
export const PATIENCE_MOST = 8;

/** Pauses between looks at a file that cannot be read, and how many such looks in a row end the upload: network drives come back. */
export const FILE_PAUSE_MS = 10_000;
export const FILE_LOOKS = 4;

/**
 * Answers in a row that contradict what the server said before, or deny the upload altogether, before they are believed:
 * a proxy in between may be wrong for a while. After a denial the pauses are longer, each twice the one before.
 */
export const CONTRADICTIONS = 6;
export const ABSENT_MS = 60_000;

/** A larger chunk than this is never sent, whatever the server suggests. */
export const MOST_CHUNK_BYTES = 1024 ** 3;

/** UTF-16 units of a reason for cancelling: percent-encoded it fits the 8 KiB of a request line that proxies take. */
export const REASON_CHARS = 500;

/** UTF-16 units of a file's name and of its type: more than file systems take. */
export const NAME_CHARS = 500;

/** A longer answer is none of the server's: a status names 4096 ranges at most, some 170 KiB. */
export const ANSWER_BYTES = 1024 * 1024;

/**
 * A timer that fires so late was held back by the browser (hidden tabs get one a minute) or by a machine that slept;
 * what moved meanwhile may not have been told yet. Above the one second by which hidden tabs are late as a rule.
 */
export const LATE_MS = 2_000;

/** Patience for the page's headers and the digest of a chunk: a person may have to log in somewhere. */
export const PREPARE_MS = 60_000;

/** Patience for the answer to a request without payload, beyond what it asks the server to wait. */
export const CONTROL_MS = 30_000;

/**
 * After chunks were aborted for a pause: so long until the server has counted what had arrived of them, as a rule. Where
 * it has not, other looks follow after twice the time each.
 */
export const PAUSE_LOOK_MS = 700;
export const PAUSE_LOOKS = 4;

/** The state of a wait is told so often: it counts down. */
export const COUNTDOWN_MS = 1_000;

/** Without an answer for so long, the upload is taken to be this tab's. */
export const CLAIM_MS = 2_000;

/** Where tabs have to talk to each other: patience for the word of another one, and how often who waits asks again. */
export const CLAIM_WORD_MS = 300;
export const CLAIM_AGAIN_MS = 5_000;

/** Progress is written down at most this often. */
export const REMEMBER_MS = 5_000;

/**
 * What was not touched for so long is forgotten when the server denies it as well: by the clock alone nothing is, since it
 * may be wrong. So many are asked about at a time.
 */
export const REMEMBER_LAST_MS = 7 * 24 * 3_600_000;
export const REMEMBER_ASK = 16;

/** Uploads remembered at most, those of the latest visits. */
export const REMEMBER_MOST = 5_000;

/** Patience for the server's word on a remembered upload, before the page is told of it anyway. */
export const RECALL_MS = 5_000;

/** Retry pauses grow from the first to the last. */
export const RETRY_FIRST_MS = 1_000;
export const RETRY_LAST_MS = 60_000;

/** A Retry-After longer than this is cut to it, so that a typing error does not end an upload. */
export const RETRY_AFTER_LAST_MS = 3_600_000;

/** While bytes flow `onprogress` comes at most this often: once per frame of a 60 Hz screen. */
export const PROGRESS_MS = 16;

/** The rate shown is the average over so long: some chunks, and not yet history. */
export const RATE_WINDOW_MS = 10_000;

/** No rate is shown before so much time was measured. */
export const RATE_LEAST_MS = 500;

/** Acknowledgements within so long count as one. */
export const RATE_TOGETHER_MS = 100;
