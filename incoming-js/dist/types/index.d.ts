declare const incoming: {
    set_server_hostname: (hostname: string) => void;
    recall: (file: File) => Promise<import("./recall.js").Unfinished | null>;
    unfinished: () => Promise<import("./recall.js").Unfinished[]>;
    forget: (what?: string | {
        upload_id: string;
    }) => Promise<void>;
    Uploader: import("./library.js").UploaderFunction;
    UploadError: typeof import("./uploader.js").UploadError;
};
export default incoming;
export declare const set_server_hostname: (hostname: string) => void, Uploader: import("./library.js").UploaderFunction, UploadError: typeof import("./uploader.js").UploadError, recall: (file: File) => Promise<import("./recall.js").Unfinished | null>, unfinished: () => Promise<import("./recall.js").Unfinished[]>, forget: (what?: string | {
    upload_id: string;
}) => Promise<void>;
export type UploaderObject = import('./uploader.js').Uploader;
export type Options = import('./types.js').Options;
export type Unfinished = import('./recall.js').Unfinished;
/** @typedef {import('./uploader.js').Uploader} UploaderObject */
/** @typedef {import('./types.js').Options} Options */
/** @typedef {import('./recall.js').Unfinished} Unfinished */
