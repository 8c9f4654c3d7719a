/**
 * @param {Blob} file
 * @returns {Promise<number>} of 53 bits; rejects when it cannot be read
 */
export declare function mark_of(file: Blob): Promise<number>;
