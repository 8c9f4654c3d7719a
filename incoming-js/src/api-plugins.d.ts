/**
 * Types of the plugins, which `incoming-js/uppy` and `incoming-js/filepond` publish. The build copies this file to
 * `dist/incoming-plugins.d.mts`.
 */
import type { Options as UploaderOptions } from './api.js';
import type { QueueOptions, Ticket, TicketRequest } from './api-queue.js';

export interface Options<M = Record<string, unknown>> extends Pick<UploaderOptions, 'hostname' | 'headers' | 'digest'>, Pick<QueueOptions, 'library' | 'scope'> {
  /** Where tickets come from: a POST with JSON for each file. */
  ticketUrl?: string;
  /** In place of `ticketUrl`. */
  getTicket?: (request: TicketRequest & { meta?: Partial<M> }, signal: AbortSignal) => Ticket | Promise<Ticket>;
  /** Uploads that transfer at a time. Default 4. */
  limit?: number;
}

export interface IncomingOptions<M = Record<string, unknown>> extends Options<M> {
  id?: string;
  /** What of a file's metadata goes into `meta` of the ticket request. Default: all. */
  allowedMetaFields?: boolean | string[];
  /** `handingOver`, `noRemote`, `noData`. */
  locale?: { strings: Record<string, string> };
}

/** For `server.process` of FilePond. */
export function incomingProcess(options: Options): (
  field: string,
  file: File,
  metadata: Record<string, unknown>,
  load: (id: string) => void,
  error: (message: string) => void,
  progress: (is_computable: boolean, loaded: number, total: number) => void,
  abort: () => void,
) => { abort: () => void };
