/**
 * The shapes that more than one file speaks of. No code.
 */

/**
 * The server's status object, checked. `received` is merged.
 * @typedef {object} Status
 * @property {'new' | 'uploading' | 'handing_over' | 'finished' | 'cancelled' | 'failed'} state
 * @property {number | null} length
 * @property {import('./ranges.js').Range[]} received
 * @property {number} chunk_size
 * @property {number | null} max_chunk_size
 * @property {number} send_ahead
 * @property {boolean} digest the web app wants the file's digest
 * @property {string | null} reason
 * @property {(boolean | null)[]} verified what became of a comparison, where one was asked for
 */

/**
 * An answer that is no status: a problem of the server's, or something a proxy made up.
 * @typedef {object} Refusal
 * @property {number} http status code
 * @property {string} code the kebab-case word
 * @property {number} error_code the server's number, else the status code
 * @property {string} message for people
 * @property {number | null} retry_after_ms
 * @property {Status | null} status of the upload, where the answer carries it
 * @property {boolean} from_server false when it is not the server's own form
 */

/**
 * No answer came: the network broke, no byte moved for too long, the browser gave the request up, the page could
 * not say what headers to send (and why, in `text`), or the file could not be read before it was sent.
 * @typedef {{ kind: 'lost', why: 'network' | 'stall' | 'abort' | 'headers' | 'file', text?: string }} Lost
 */
/** @typedef {{ kind: 'answer', status: number, body: string, retry_after: string | null }} RawAnswer */
/** @typedef {RawAnswer | Lost} RawOutcome */
/** @typedef {{ kind: 'status', status: Status } | { kind: 'refused', refusal: Refusal, why?: undefined } | Lost} Outcome */

/**
 * One request.
 * @typedef {object} Request
 * @property {'GET' | 'POST' | 'PUT' | 'DELETE'} method
 * @property {string} url
 * @property {Record<string, string>} [headers]
 * @property {Blob | string} [body]
 * @property {boolean} [digest] a digest of the body is to go along
 * @property {Blob | null} [read_first] to be read before anything is sent; where it is the body, what was read goes out
 * @property {number} [answer_ms] patience for the answer once the request is sent
 * @property {number} [patience] how many times longer than usual to wait for a sign of life
 * @property {(bytes: number) => void} [on_sent] how much of the body the network has taken
 * @property {() => void} [on_handed] the network has taken all of it
 * @property {() => void} [on_still] no byte has moved for a while
 */

/**
 * The network. `send` calls `on_end` exactly once, never before it has returned, and never after `abort`.
 * @typedef {object} Transport
 * @property {(request: Request, on_end: (raw: RawOutcome) => void) => { abort: () => void }} send
 */

/**
 * Time and chance.
 * @typedef {object} Clock
 * @property {() => number} now ms that have gone by since some moment: no clock that can be set
 * @property {() => number} date ms, wall clock: for people, and for dates that others send
 * @property {(fn: () => void, ms: number) => unknown} set_timer
 * @property {(timer: any) => void} clear_timer
 * @property {() => number} random in [0, 1)
 */

/**
 * What the engine needs from outside.
 * @typedef {object} Ports
 * @property {Transport} transport
 * @property {Clock} clock
 * @property {(fn: (online: boolean) => void) => () => void} on_wake calls fn when a retry has better prospects, and whether that is
 *   because the network is back; returns the end of it
 * @property {(origin: string) => import('./budget.js').Budget} budget_for
 * @property {(blob: Blob) => Promise<string | null>} sha256 in base64; null where there is no such thing; rejects when it cannot be read
 * @property {Store | null} store
 * @property {Locks} locks
 * @property {() => Promise<number>} [visit] number of this page among those that remembered an upload
 */

/**
 * What is remembered of an upload that is not over.
 * @typedef {object} Entry
 * @property {string} upload_id
 * @property {string} hostname origin of the server
 * @property {string} name
 * @property {number} size
 * @property {number} last_modified
 * @property {number} mark tells files apart that agree in all of this: a hash of the first and the last bytes
 * @property {number} bytes_acked as last known
 * @property {number} when ms, when that was, for people: the clock may have been wrong
 * @property {number} [visit] number of the page that touched it last; none in entries of earlier versions
 * @property {FileSystemFileHandle} [handle]
 */

/**
 * Where entries are kept, by `upload_id`. Everything may fail.
 * @typedef {object} Store
 * @property {() => Promise<Entry[]>} all
 * @property {(entry: Entry) => Promise<void>} put
 * @property {(upload_id: string, changes: Partial<Entry>) => Promise<void>} change does nothing where there is no such entry
 * @property {(upload_id: string) => Promise<void>} remove
 */

/**
 * Who may send, among the tabs of a browser.
 * @typedef {object} Locks
 * @property {(name: string, on_turn: (turn: 'held' | 'waiting') => void, steal?: boolean) => () => void} claim tells `held` when it
 *   is this one's turn, at once where nothing better is known, and `waiting` when another tab has it or took it; `steal` takes it
 *   from a tab that is taken for dead; returns the end of it
 * @property {() => Promise<string[]>} held the names held now, in any tab; none where that is unknown
 */

/**
 * Third argument of `incoming.Uploader`; everything in it may be left out.
 * @typedef {object} Options
 * @property {string} [hostname] server of this upload, as for `set_server_hostname`
 * @property {number} [chunk_size] bytes per chunk, fixed; else it follows the line
 * @property {number} [send_ahead] chunks in flight, fixed; else it follows the line, up to the server's suggestion
 * @property {HeadersInit | (() => HeadersInit | Promise<HeadersInit>)} [headers] sent along with every request; a function is asked
 *   for each anew, so that a token may change
 * @property {AbortSignal} [signal] cancels the upload when it is aborted
 * @property {boolean} [digest] sends a SHA-256 with every chunk up to 16 MiB, in secure contexts; left out: when the web app wants one
 * @property {boolean} [remember] false: nothing of this upload is kept in the browser
 * @property {FileSystemFileHandle} [handle] of the file, so that it need not be chosen again; kept in the browser
 */

/**
 * The observable properties of an uploader.
 * @typedef {object} Properties
 * @property {number} bytes_tx
 * @property {number} bytes_acked
 * @property {number} bytes_ahead
 * @property {number} frac_complete
 * @property {number | null} bytes_per_s
 * @property {number | null} eta_s
 * @property {number} chunks_tx_now
 * @property {number} chunks_acked_now
 * @property {number} chunks_ahead
 * @property {string} state_msg
 * @property {number | null} retry_in_s
 * @property {string | null} cancel_msg
 * @property {number | null} error_code
 * @property {string | null} error_msg
 * @property {boolean} connected
 * @property {boolean} finished
 * @property {boolean} paused
 * @property {boolean} can_pause
 * @property {boolean} cancelling
 * @property {boolean} cancelled
 * @property {boolean} can_cancel
 */

/** @typedef {{ code: string, error_code: number, message: string }} Failure what `onerror` tells of */
/** @typedef {'finished' | 'cancelled' | 'error'} Ending an event besides progress */

export {};
