/**
 * Names of properties that only the library itself ever sees; the build shortens them. It takes a tenth off what
 * pages load.
 *
 * A name may stand here when no page, no server and no browser knows it: not in the API, not in what is sent, received
 * or stored, not on any object of the platform, and no code reaches it by a quoted name. `test/dist.test.js` compares with what is public.
 */
export const INNER_NAMES = `
  abort_all acked acked_began_at answer_ms began_at begin body budget budget_for calls cancel_here cannot_read ceiling change check chunk_bytes chunks_acked
  claim clear_timer clock contradict contradictions convict cut date drop_overtaken ending enter events fail failure failures falls fewer file flight follow followers
  from_server give_way handed hashes hold http idle in_flight is_gone kind last learn ledger look_later looking lost memory method
  misses moved_at need_status next note oldest on_end on_handed on_sent on_still on_wake own pace patience phase phase_mark polls ports
  properties puts rate read_first refusal release remove restart retry_after retry_after_ms retry_s rival runs seconds sent
  set_timer settle sha256 since sizes slot stands stop store superseded suspects tell timer times took_over transport trouble total turn
  unreadable until url verify_failures waits wake wakeable watch watched why within
`.trim().split(/\s+/);
