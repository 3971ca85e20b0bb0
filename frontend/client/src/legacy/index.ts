/** The legacy side, in a chunk of its own: most pages never need it, and one day none will. */

export { legacy } from "./adapter.ts";
export { LegacyFeed } from "./feed.ts";
export { getDetail } from "./runs.ts";
