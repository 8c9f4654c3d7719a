/**
 * Names of properties that only the library itself uses. The build shortens them, which makes the files that pages load a
 * tenth smaller.
 *
 * A name may stand here if no page, server or browser knows it: it is not in the API, not in what is sent, received or stored,
 * not on any object of the platform, and no code uses it as a quoted key. `test/dist.test.js` compares with what is public.
 */
export const INNER_NAMES = `
  abort_all acked acked_began_at add_poller answer_ms began_at begin body calls cancel_here ceiling change check chunk_bytes chunk_failures chunks
  chunks_acked claim claim_lock clear_timer clock contention contradict contradictions date decrease drop_overtaken ending enter events fail failure
  file from_server handed hashes hidden_limits http idle in_flight is_stale kind last_bytes learn lock lost lost_range method moved_at need_status
  next note observe oldest on_end on_handed on_sent on_still on_wake pace patience phase phase_version poll_paused pollers polls pool pool_for ports
  properties rate read_failed read_failures read_first reading record refusal regressions release remove report reports_progress request_failures reset
  restart retry_after retry_after_ms retry_later retry_reason retry_s retry_timer running runs sample seconds sent server_ranges set_timer settle sha256
  since sizes skip slot stop store superseded timer times total transport trusted until update url verify_failures version waits wake wakeable why
  within yield_to_other
`.trim().split(/\s+/);

/** The same of the queue and the element. */
export const UI_NAMES = `
  area attempt cancel_entry changed dragging emit focus_failed has_failed hold insert is_observed listen move on_held on_sent paint passed pause_entry
  pause_wanted previews refuse refused remove_entry reopen rest resume_entry retry_entry sentence settings show_picture shown
`.trim().split(/\s+/);
