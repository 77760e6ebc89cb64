// What the SDK in `witgate-providers.js` offers to TypeScript.
export { Settings, type Write } from './witgate.js';
import { type Write } from './witgate.js';

/** What a provider begins with. */
export interface Setup {
  /** A JSON object. */
  settings: string;
  /** The instance's own. */
  seed: bigint;
}

export interface Needs {
  /** How streams are cut; `bytes` as they come. */
  framing: 'server-sent-events' | 'lines' | 'bytes';
  /** true: nothing of one request is remembered at the next, so an instance may serve one after another. */
  pure?: boolean;
}

/** What a request is written for. */
export interface Target {
  /** The model as the provider names it. */
  model: string;
  /** The version of the provider's API, where the configuration has one. */
  apiVersion?: string;
  /** What was reserved for the reply: to be sent where the provider demands a bound and the client gave none. */
  maxOutputTokens: number;
}

/** Any JSON. */
export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
  [name: string]: Json | undefined;
}

/** A JSON object in bytes; throws a `Fault` where it is none. */
export function readObject(bytes: Uint8Array): JsonObject;

/** A request in the provider's words. */
export interface Encoded {
  /** Path and query below the deployment's address, from a slash on. */
  path: string;
  /** Written as JSON. */
  body: Json;
  /** `accept`, and names that end with `-version`, `-beta`, `-features` or `-client-name`. */
  headers?: Record<string, string>;
  /** Fields of the request that the provider has no word for and whose loss does not change what was asked. */
  dropped?: string[];
}

export type Reason = 'stop' | 'length' | 'tool-calls' | 'content-filter' | 'refusal' | 'other';

/** All input tokens, those from and to a cache among them; all output tokens, thinking among them. */
export interface Usage {
  inputTokens: number;
  cacheReadTokens?: number;
  cacheWriteTokens?: number;
  outputTokens: number;
  reasoningTokens?: number;
}

/** A step of a reply; arguments are JSON text. It begins once, first; without an `end` a stream that breaks off is a fault. */
export type Event =
  | { tag: 'beginning'; val: { id: string; model: string } }
  | { tag: 'text' | 'reasoning' | 'refusal'; val: string }
  | { tag: 'tool-call'; val: { index: number; id: string; name: string } }
  | { tag: 'tool-arguments'; val: { index: number; fragment: string } }
  | { tag: 'finish'; val: Reason }
  | { tag: 'usage'; val: Usage }
  | { tag: 'end' };

/** Throw it: what cannot be written, or is no reply, with the provider's word for it and the field of the request to blame. */
export class Fault {
  readonly message: string;
  readonly code?: string;
  readonly param?: string;
  constructor(message: string, about?: { code?: string; param?: string });
}

/** Reads one stream. */
export interface Decoder {
  /** The next piece: the event's name ('' where it has none, or there are no events), and its data. */
  push(name: string, data: Uint8Array): Event[];
}

export interface Provider {
  readonly needs: Needs;
  /** Writes an OpenAI chat completion, whatever API the client spoke. */
  encode(request: JsonObject, target: Target): Encoded;
  /** Reads a whole reply. */
  decode(body: Uint8Array): Event[];
  /** The words of a refusal; what its status means the gateway knows. */
  decodeError(status: number, body: Uint8Array): Fault;
  open(): Decoder;
}

/** The component's exports for a provider; `configure` makes it, or throws an error about a setting that makes no sense. */
export function exportProvider(
  configure: (setup: Setup) => Provider,
  write: Write,
): { lifecycle: object; providing: object };
