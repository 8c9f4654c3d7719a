import { Uploader as UploaderClass, UploadError } from './uploader.js';
export type Options = import('./types.js').Options;
export type Ports = import('./types.js').Ports;
export type UploaderFactory = {
    prototype: UploaderClass;
};
export type UploaderFunction = UploaderFactory & ((upload_id: string, file: File, options?: Options) => UploaderClass) & (new (upload_id: string, file: File, options?: Options) => UploaderClass);
/**
 * What `incoming.Uploader` is: a function that works with and without `new`.
 * @typedef {object} UploaderFactory
 * @property {UploaderClass} prototype
 */
/** @typedef {UploaderFactory & ((upload_id: string, file: File, options?: Options) => UploaderClass) & (new (upload_id: string, file: File, options?: Options) => UploaderClass)} UploaderFunction */
/**
 * @param {string | null} from_origin where the script was loaded from, null when unknown
 * @param {Ports} ports
 */
export declare function create_library(from_origin: string | null, ports?: Ports): {
    set_server_hostname: (hostname: string) => void;
    recall: (file: File) => Promise<import("./recall.js").Unfinished | null>;
    unfinished: () => Promise<import("./recall.js").Unfinished[]>;
    forget: (what?: string | {
        upload_id: string;
    }) => Promise<void>;
    Uploader: UploaderFunction;
    UploadError: typeof UploadError;
};
