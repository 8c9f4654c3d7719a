/**
 * Names of properties that only the library itself ever sees; the build shortens them. It takes a tenth off what
 * pages load.
 *
 * A name may stand here when no page, no server and no browser knows it: not in the API, not in what is sent, received
 * or stored, not on any object of the platform. `test/dist.test.js` compares with what is public.
 */
export const INNER_NAMES = `
  abort_waiting acked answer_ms began_at begin budget budget_for calls cancel_here ceiling chunk_bytes chunks_acked
  clear_timer clock convict ending enter events fail failure failures fewer file flight follow followers forget
  from_server give_way handed has_chunk hold idle in_flight is_gone kind learn ledger lost need_status note oldest
  on_end on_handed on_sent on_wake pace phase phase_mark polls ports properties puts rate refusal release retry_after
  retry_after_ms rival runs sent set_timer settle since sizes slot stands superseded suspects times took_over transport
  trouble upload_id waits wake wakeable why within
`.trim().split(/\s+/);
