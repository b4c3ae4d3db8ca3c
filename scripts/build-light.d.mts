/** The example page of the light client as one file of text. */
export function lightPage(): Promise<string>;
