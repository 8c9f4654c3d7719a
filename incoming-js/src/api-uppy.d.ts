/**
 * Types of `incoming-js/uppy`. The build copies this file to `dist/incoming-uppy.d.mts`.
 */
import { BasePlugin, type Body, type Meta, type Uppy } from '@uppy/core';
import type { IncomingOptions } from './api-plugins.js';

export type { IncomingOptions };

/** Uploader plugin of Uppy. `body` of a file's response is `{ id }`. */
export default class Incoming<M extends Meta, B extends Body> extends BasePlugin<IncomingOptions<M>, M, B> {
  static VERSION: string;
  constructor(uppy: Uppy<M, B>, opts: IncomingOptions<M>);
}

declare module '@uppy/core' {
  interface PluginTypeRegistry<M extends Meta, B extends Body> {
    Incoming: Incoming<M, B>;
  }
}
