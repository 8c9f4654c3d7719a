declare const incoming: {
    set_server_hostname: (hostname: string) => void;
    Uploader: import("./library.js").UploaderFunction;
    UploadError: typeof import("./uploader.js").UploadError;
};
export default incoming;
export declare const set_server_hostname: (hostname: string) => void, Uploader: import("./library.js").UploaderFunction, UploadError: typeof import("./uploader.js").UploadError;
export type UploaderObject = import('./uploader.js').Uploader;
export type Options = import('./types.js').Options;
/** @typedef {import('./uploader.js').Uploader} UploaderObject */
/** @typedef {import('./types.js').Options} Options */
