/**
 * Entry point of `incoming-js/queue`: the queue without a page.
 */
import incoming from './index.js';
import { UploadQueue } from './queue.js';
import { tickets_from } from './ticket.js';

export { UploadQueue, tickets_from };
export { dropped, from_handles, parse_size } from './files.js';
export { TicketError } from './ticket.js';

/** A queue on the library of this package. @type {typeof import('./api-queue.js').create_queue} */
export const create_queue = (options) => new UploadQueue({ library: incoming, ...options, getTicket: options.getTicket ?? tickets_from(options.ticket_url ?? '') });
