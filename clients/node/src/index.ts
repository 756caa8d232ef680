export {
  TokenClient,
  type Bundle,
  type BundleOptions,
  type ReportOptions,
  type TokenClientOptions,
  type Unsubscribe,
  type WaitOptions,
} from "./client.js";
export { InvalidSettings, NobodyListens, RefreshFailed, TimedOut, TokenSidecarError } from "./errors.js";
export { tokenFetch, type TokenFetchOptions } from "./fetch.js";
export { fingerprint, type FailedEvent, type Product, type UpdatedEvent } from "./wire.js";
