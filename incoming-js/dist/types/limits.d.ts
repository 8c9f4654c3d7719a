/**
 * Every bound and pause of the library, by name, with the reason for its value.
 * Nothing here computes anything.
 */
/** Bytes of the smallest chunk ever tried: below it the request overhead eats a fast line. */
export declare const MIN_CHUNK_BYTES: number;
/** Bytes of the first chunk, when nothing is known about the line: what one second of 4 Mbit/s carries. */
export declare const FIRST_CHUNK_BYTES: number;
/**
 * How long a chunk should take, from the request to the acknowledgement: long enough that a round trip and a sync of
 * the server weigh little, short enough that a break costs little. Between the first and the last nothing is changed.
 */
export declare const CHUNK_FAST_MS = 1000;
export declare const CHUNK_GOAL_MS = 1500;
export declare const CHUNK_SLOW_MS = 2000;
/** A chunk is at most this part of the file, or what the server suggests where that is more: progress stays visible. */
export declare const CHUNKS_PER_FILE = 64;
/** Larger chunks are not hashed: a chunk has to be in memory for it. */
export declare const HASH_BYTES: number;
/** Bytes of a piece of the file that is compared or remembered: small to read, too large to be guessed. */
export declare const PIECE_BYTES: number;
/** Smaller pieces are not compared by the server. */
export declare const MIN_PIECE_BYTES: number;
/** Pieces compared at once: as many as the server takes. Together 1 MiB, hashed in some milliseconds. */
export declare const PIECES = 16;
/** Bytes kept back until all others are acknowledged and compared: a packet or so, that costs a slow line nothing. */
export declare const LAST_BYTES: number;
/** Comparisons in a row that may go wrong, for another reason than the file, before the upload goes on without. */
export declare const VERIFY_TRIES = 3;
/** Chunks in flight at first: one on the line while the answer to the other is under way. */
export declare const FIRST_IN_FLIGHT = 2;
/** One more in flight has to raise the rate by so much to stay: more than chance brings, less than two lose by ending together. */
export declare const IN_FLIGHT_GAIN = 1.07;
/** A rate is measured over at least so long. */
export declare const IN_FLIGHT_WINDOW_MS = 1000;
/** Measurements between two trials of one more in flight grow up to this number. */
export declare const IN_FLIGHT_REST = 32;
/** A small chunk that takes so long shows a line on which chunks side by side only wait for each other. */
export declare const CRAWL_MS = 4000;
/** Chunk size when the server suggests none. The same as the server's own default. */
export declare const DEFAULT_CHUNK_BYTES: number;
/** Chunks in flight per uploader when the server suggests none. The same as the server's own default. */
export declare const DEFAULT_SEND_AHEAD = 4;
/** Chunks in flight per origin, over all uploaders of the page. A browser opens six HTTP/1.1 connections. */
export declare const CHUNK_CONNECTIONS = 4;
/** Connections all requests but cancelling may take: six less the one that stays free for cancelling. */
export declare const SHARED_CONNECTIONS = 5;
/** Uploads that wait to send a chunk before more are begun: enough that no connection is idle. */
export declare const BOUND_WAITING = 8;
/** Seconds a lone long poll asks the server to wait: under the 30 s after which many proxies hang up. */
export declare const POLL_WAIT_S = 25;
/** Seconds one status request waits while another uploader sends the file: often enough for a moving bar. */
export declare const WATCH_WAIT_S = 2;
/** Without progress by the other uploader or tab for so long, it is taken for dead and sending starts again. */
export declare const WATCH_IDLE_MS: number;
/** Times in a row an uploader lets itself be superseded before it leaves the sending to the other one. */
export declare const SUPERSEDED_LIMIT = 3;
/** Patience until the first byte of a chunk moves; other tabs may hold the connections. */
export declare const FIRST_BYTE_MS = 60000;
/** Patience between two moves of bytes. */
export declare const STALL_MS = 30000;
/** A chunk on which no byte moves for so long: the file is looked at, since some browsers just stop where it ends too early. */
export declare const STILL_MS = 3000;
/** A chunk on which no byte moves for so long while one that began later is acknowledged is sent again. */
export declare const OVERTAKEN_MS = 2500;
/** Patience for the answer once a chunk is with the network: its tail drains, a big file gets synced. */
export declare const ANSWER_MS = 120000;
/**
 * Where a chunk shows no sign of life its patience is doubled after each stall, up to this: behind a service worker
 * browsers do not tell how much of a body is sent.
 */
export declare const PATIENCE_MOST = 8;
/** Pauses between looks at a file that cannot be read, and how many such looks in a row end the upload: network drives come back. */
export declare const FILE_PAUSE_MS = 10000;
export declare const FILE_LOOKS = 4;
/**
 * Answers in a row that contradict what the server said before, or deny the upload altogether, before they are believed:
 * a proxy in between may be wrong for a while. After a denial the pauses are longer, each twice the one before.
 */
export declare const CONTRADICTIONS = 6;
export declare const ABSENT_MS = 60000;
/** A larger chunk than this is never sent, whatever the server suggests. */
export declare const MOST_CHUNK_BYTES: number;
/** UTF-16 units of a reason for cancelling: percent-encoded it fits the 8 KiB of a request line that proxies take. */
export declare const REASON_CHARS = 500;
/** UTF-16 units of a file's name and of its type: more than file systems take. */
export declare const NAME_CHARS = 500;
/** A longer answer is none of the server's: a status names 4096 ranges at most, some 170 KiB. */
export declare const ANSWER_BYTES: number;
/**
 * A timer that fires so late was held back by the browser (hidden tabs get one a minute) or by a machine that slept;
 * what moved meanwhile may not have been told yet. Above the one second by which hidden tabs are late as a rule.
 */
export declare const LATE_MS = 2000;
/** Patience for the page's headers and the digest of a chunk: a person may have to log in somewhere. */
export declare const PREPARE_MS = 60000;
/** Patience for the answer to a request without payload, beyond what it asks the server to wait. */
export declare const CONTROL_MS = 30000;
/**
 * After chunks were aborted for a pause: so long until the server has counted what had arrived of them, as a rule. Where
 * it has not, other looks follow after twice the time each.
 */
export declare const PAUSE_LOOK_MS = 700;
export declare const PAUSE_LOOKS = 4;
/** The state of a wait is told so often: it counts down. */
export declare const COUNTDOWN_MS = 1000;
/** Without an answer for so long, the upload is taken to be this tab's. */
export declare const CLAIM_MS = 2000;
/** Where tabs have to talk to each other: patience for the word of another one, and how often who waits asks again. */
export declare const CLAIM_WORD_MS = 300;
export declare const CLAIM_AGAIN_MS = 5000;
/** Progress is written down at most this often. */
export declare const REMEMBER_MS = 5000;
/**
 * What was not touched for so long is forgotten when the server denies it as well: by the clock alone nothing is, since it
 * may be wrong. So many are asked about at a time.
 */
export declare const REMEMBER_LAST_MS: number;
export declare const REMEMBER_ASK = 16;
/** Uploads remembered at most, those of the latest visits. */
export declare const REMEMBER_MOST = 5000;
/** Patience for the server's word on a remembered upload, before the page is told of it anyway. */
export declare const RECALL_MS = 5000;
/** Retry pauses grow from the first to the last. */
export declare const RETRY_FIRST_MS = 1000;
export declare const RETRY_LAST_MS = 60000;
/** A Retry-After longer than this is cut to it, so that a typing error does not end an upload. */
export declare const RETRY_AFTER_LAST_MS = 3600000;
/** While bytes flow `onprogress` comes at most this often: once per frame of a 60 Hz screen. */
export declare const PROGRESS_MS = 16;
/** The rate shown is the average over so long: some chunks, and not yet history. */
export declare const RATE_WINDOW_MS = 10000;
/** No rate is shown before so much time was measured. */
export declare const RATE_LEAST_MS = 500;
/** Acknowledgements within so long count as one. */
export declare const RATE_TOGETHER_MS = 100;
